"""Images read from disk by workers: the batches equal those of other loaders, for any number of workers."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.small_jobs import alive, wait_until
from PIL import Image
from torchvision.transforms import v2

from mcl.data import disk_loader, listed_files
from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Dataset, Images
from mcl.data.folder import Folder
from mcl.data.image_files import CenterSquare, ImageFiles, TransformPipeline, as_bytes
from mcl.data.loaders import TrainingLoader, batches_in_order
from mcl.data.samplers import ClassBalanced, Sampler, Shuffle
from mcl.data.seeding import generator
from mcl.data.synthetic import Synthetic
from mcl.distributed.sharding import Shard
from mcl.errors import UserError
from mcl.types import Batch

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
RANDOM = (v2.RandomResizedCrop(6), v2.RandomHorizontalFlip())


@pytest.fixture
def files(make_tree: Callable[..., Path]) -> ImageFiles:
    """Make 30 images of 8 x 8 in 3 classes, cropped and flipped at random to 6 x 6."""
    root = make_tree(splits=("",), classes=("cat", "dog", "fox"), count=10)
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    labels = torch.arange(3).repeat_interleave(10)
    return ImageFiles(root, as_bytes(paths), labels, TransformPipeline(RANDOM, 6, 3), skip=False, workers=0)


def changed(files: ImageFiles, **options: Any) -> ImageFiles:
    return ImageFiles(**{**vars(files), **options})


def loader(
    files: ImageFiles, sampler: Sampler | None = None, dataset: Dataset | None = None, **options: Any
) -> TrainingLoader:
    dataset = dataset or Synthetic(mean=list(MEAN), std=list(STD), augmentation=Augmentation(1, True))
    return TrainingLoader(files, dataset, sampler or Shuffle(), **{"batch_size": 8, "seed": 1} | options)


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True)) and one.step == other.step


ROOT = Path(__file__).parents[2]
READ_FOR_EVER = """
import sys, time
import torch
from pathlib import Path
from mcl.data.disk_loader import DiskLoader
from mcl.data.image_files import ImageFiles, as_bytes

def decode(path):
    Path(sys.argv[1]).write_text(str(__import__("os").getpid()))
    time.sleep(600)

files = ImageFiles(Path("."), as_bytes(["image.png"]), torch.zeros(1, dtype=torch.int64), decode, skip=False, workers=1)
list(DiskLoader(files, torch.device("cpu")).in_order(range(1), 1))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere torch looks now and then")
def test_readers_die_with_the_process_that_trains(warm: None, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", READ_FOR_EVER, str(tmp_path / "pid")], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), seconds=120.0)
        reader = int((tmp_path / "pid").read_text())
        assert alive(reader)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not alive(reader))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_pixel(files: ImageFiles, workers: int) -> None:
    without_workers, with_workers = (loader(changed(files, workers=n)) for n in (0, workers))
    for epoch in (0, 1):
        batches = list(zip(without_workers.epoch(epoch), with_workers.epoch(epoch), strict=True))
        assert len(batches) == len(without_workers)
        assert all(same(*pair) for pair in batches)


@pytest.mark.parametrize("sampler", [Shuffle(), ClassBalanced()], ids=["shuffle", "class_balanced"])
def test_starting_within_an_epoch_gives_the_same_batch(files: ImageFiles, sampler: Any) -> None:
    training = loader(files, sampler)
    reached = list(training.epoch(2))
    assert len(reached) == len(training)
    for start in range(len(reached)):
        assert all(same(a, b) for a, b in zip(reached[start:], training.epoch(2, start=start), strict=True))


@pytest.mark.parametrize("sampler", [Shuffle(), ClassBalanced(replacement=True)], ids=["shuffle", "class_balanced"])
def test_shards_of_all_processes_form_the_batches_of_one(files: ImageFiles, sampler: Any) -> None:
    shared = [loader(files, sampler, shard=Shard(rank, 2)).epoch(0) for rank in range(2)]
    for full_batch, *parts in zip(loader(files, sampler).epoch(0), *shared, strict=True):
        together = Batch(*(torch.cat(values) for values in list(zip(*parts, strict=True))[:3]), full_batch.step)
        assert same(full_batch, together)


def test_every_epoch_and_every_image_is_transformed_anew(files: ImageFiles) -> None:
    one_image = changed(files, paths=files.paths[[0] * 30])
    first, second = (next(loader(one_image).epoch(epoch)).images for epoch in (0, 1))
    assert len({tuple(image.flatten().tolist()) for image in [*first, *second]}) > 12


class Drawn:
    """Fake random transform of an image: the image is its random draw."""

    def __call__(self, path: Path) -> Any:
        return torch.randint(256, (3, 6, 6)).byte().numpy()


@pytest.mark.parametrize("processes", [1, 2])
def test_repeated_image_of_an_epoch_is_transformed_anew(files: ImageFiles, processes: int) -> None:
    drawn = changed(files, decode=Drawn())
    sampler = ClassBalanced(per_class=4, replacement=True)
    unscaled = Synthetic(mean=[0.0], std=[1 / 255])
    loaders = [loader(drawn, sampler, unscaled, shard=Shard(rank, processes)) for rank in range(processes)]
    batches = [batch for each in loaders for batch in each.epoch(0)]
    indices = torch.cat([batch.indices for batch in batches])
    images = torch.cat([batch.images for batch in batches]).flatten(1)
    assert len(indices.unique()) < len(indices)
    assert len(images.unique(dim=0)) == len(images)
    first = int(batches[0].indices[0])
    torch.set_rng_state(generator("transform", 1, 0, first).get_state())  # as it was when each image had one transform
    assert torch.equal(images[0].round().byte(), torch.from_numpy(Drawn()(Path())).flatten())


def test_global_random_state_is_unchanged(files: ImageFiles) -> None:
    before = torch.get_rng_state()
    list(loader(files).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_and_indices_match_the_images(files: ImageFiles) -> None:
    plain = changed(files, decode=CenterSquare(8, 3))
    for batch in loader(plain, dataset=Synthetic(mean=list(MEAN), std=list(STD))).epoch(0):
        assert torch.equal(batch.labels, files.labels[batch.indices])
        for pixels, index in zip(batch.images, batch.indices.tolist(), strict=True):
            image = torch.from_numpy(CenterSquare(8, 3)(files.path(index)).copy())
            expected = (image / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
            torch.testing.assert_close(pixels, expected)


def test_overfitting_repeats_the_first_batch(files: ImageFiles) -> None:
    training = loader(files, overfit=True)
    first, *rest = [*training.epoch(0), *training.epoch(1)]
    assert len(rest) == 2 * len(training) - 1
    assert all(same(first, batch) for batch in rest)


def damage(files: ImageFiles, *positions: int) -> None:
    for position in positions:
        files.path(position).write_bytes(b"no image")


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_file_is_named(files: ImageFiles, workers: int) -> None:
    damage(files, 7)
    with pytest.raises(UserError, match=rf"Cannot read {files.path(7)} .*dataset.corrupt=skip"):
        list(loader(changed(files, workers=workers)).epoch(0))


def test_unreadable_files_are_replaced_by_others_of_their_class(
    files: ImageFiles, caplog: pytest.LogCaptureFixture
) -> None:
    damage(files, 7, 8, 25)
    skipping = changed(files, skip=True)
    batches = list(loader(skipping).epoch(0))
    seen = [index for batch in batches for index in batch.indices.tolist()]
    assert sorted(seen) == sorted([*range(7), 9, 9, 9, *range(10, 25), 26, 26, *range(27, 30)])
    assert [len(batch.labels) for batch in batches] == [8, 8, 8, 6]
    damaged = [str(files.path(position)) for position in (7, 8, 25)]
    assert f"epoch 1: replaced 3 unreadable files: {', '.join(sorted(damaged))}" in caplog.text
    assert sorted(skipping.unreadable) == sorted(damaged)
    again = list(loader(changed(skipping, workers=2)).epoch(0))
    assert all(same(a, b) for a, b in zip(batches, again, strict=True))


def test_unreadable_files_are_logged_even_if_iteration_stops_at_the_last_batch(
    files: ImageFiles, caplog: pytest.LogCaptureFixture
) -> None:
    damage(files, 7)
    training = loader(changed(files, skip=True))
    for _ in itertools.islice(training.epoch(0), len(training)):
        pass
    assert "epoch 1: replaced 1 unreadable file: " in caplog.text


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("sampler", [Shuffle(), ClassBalanced(per_class=4)], ids=["shuffle", "class_balanced"])
def test_replacement_keeps_the_images_of_a_batch_distinct(files: ImageFiles, processes: int, sampler: Any) -> None:
    damage(files, 2, 3, 4, 25)
    skipping = changed(files, skip=True)
    replaced = 0
    for epoch in range(3):
        loaders = [loader(skipping, sampler, shard=Shard(rank, processes)) for rank in range(processes)]
        alone = loader(skipping, sampler).epoch(epoch)
        planned = sampler.batches(files.labels, 8, seed=1, epoch=epoch)
        for full_batch, planned_batch, *parts in zip(
            alone, planned, *(each.epoch(epoch) for each in loaders), strict=True
        ):
            indices = torch.cat([part.indices for part in parts])
            assert torch.equal(indices, full_batch.indices)
            assert len(indices.unique()) == len(indices)
            assert torch.equal(files.labels[indices], files.labels[planned_batch])
            replaced += int((indices != planned_batch).sum())
    assert replaced > 5


def test_sampler_with_replacement_may_repeat_an_image_instead_of_a_damaged_one(files: ImageFiles) -> None:
    damage(files, *range(1, 10))
    sampler = ClassBalanced(per_class=4, replacement=True)
    seen = {index for batch in loader(changed(files, skip=True), sampler).epoch(0) for index in batch.indices.tolist()}
    assert 0 in seen
    assert not seen & set(range(1, 10))


def test_batch_that_cannot_be_kept_distinct_is_an_error(files: ImageFiles) -> None:
    damage(files, *range(1, 10))
    with pytest.raises(UserError, match=r"Cannot read .*cat.*no other readable image that is not in the batch"):
        list(loader(changed(files, skip=True), ClassBalanced(per_class=4)).epoch(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_failure_of_the_file_system_stops_even_if_damaged_files_are_skipped(files: ImageFiles, workers: int) -> None:
    files.path(7).unlink()
    with pytest.raises(UserError, match=rf"^Cannot read {files.path(7)} \(No such file or directory\)"):
        list(loader(changed(files, skip=True, workers=workers)).epoch(0))


def test_class_without_a_readable_file_is_an_error(files: ImageFiles) -> None:
    damage(files, *range(10))
    with pytest.raises(UserError, match=r"Cannot read .*cat.* \(no image.*no other readable image"):
        list(loader(changed(files, skip=True)).epoch(0))


def test_killed_worker_is_reported(files: ImageFiles) -> None:
    class Deadly:
        def __call__(self, path: Path) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(UserError, match=r"was killed.*dataset\.workers=1, or 0"):
        list(loader(changed(files, decode=Deadly(), workers=1)).epoch(0))


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ((v2.CenterCrop(5),), r"uint8 of shape \(3, 5, 5\), not uint8 of \(3, 6, 6\)"),
        ((v2.CenterCrop(6), v2.ToImage(), v2.ToDtype(torch.float32)), "float32"),
        ((lambda image: 3,), "returns a int"),
    ],
)
def test_transform_with_wrong_output_is_reported(files: ImageFiles, transforms: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        next(loader(changed(files, decode=TransformPipeline(transforms, 6, 3))).epoch(0))


# A folder on disk against the same folder in memory.


@pytest.fixture
def in_memory_and_on_disk(make_tree: Callable[..., Path]) -> Callable[..., tuple[Folder, Folder]]:
    """Return the same folder in memory and on disk."""
    root = make_tree(classes=("cat", "dog", "fox"), count=8)

    def make(**options: Any) -> tuple[Folder, Folder]:
        options = {"root": str(root), "augmentation": Augmentation(1, True), "workers": 0} | options
        return Folder(**options, storage="memory"), Folder(**options, storage="disk")

    return make


@pytest.mark.parametrize(
    "options", [{}, {"image_size": 5}, {"limit": 3}, {"validation": 0.25}, {"channels": 1}], ids=str
)
def test_folder_on_disk_equals_the_one_in_memory(in_memory_and_on_disk: Any, options: dict[str, Any]) -> None:
    memory, disk = in_memory_and_on_disk(**options)
    for one, other in zip(memory.load(), disk.load(), strict=True):
        if one is None:
            assert other is None
            continue
        assert isinstance(one, Images)
        assert isinstance(other, ImageFiles)
        in_order = [list(batches_in_order(part, memory, batch_size=5)) for part in (one, other)]
        assert all(same(a, b) for a, b in zip(*in_order, strict=True))
    training = [
        TrainingLoader(dataset.load().train, dataset, ClassBalanced(), batch_size=6, seed=3)
        for dataset in (memory, disk)
    ]
    assert all(same(a, b) for a, b in zip(*(part.epoch(1) for part in training), strict=True))
    assert memory.fingerprint() == disk.fingerprint()


def test_skipping_gives_the_same_images_and_steps_from_disk_and_from_memory(
    in_memory_and_on_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, disk = in_memory_and_on_disk(corrupt="skip", image_size=8)
    damage(disk.load().train, 0, 1, 9)
    damage(disk.load().test, 2)
    memory, disk = in_memory_and_on_disk(corrupt="skip", image_size=8)
    parts = [memory.load()]
    monkeypatch.setattr(listed_files, "available_memory", lambda: 0)
    disk.storage = "auto"
    parts.append(disk.load())
    assert isinstance(parts[1].train, ImageFiles)
    assert len(parts[1].train.labels) == 21
    for one, other in zip(*(part[:2] for part in parts), strict=True):
        in_order = [list(batches_in_order(part, memory, batch_size=5)) for part in (one, other)]
        assert all(same(a, b) for a, b in zip(*in_order, strict=True))
    training = [
        TrainingLoader(part.train, dataset, Shuffle(), batch_size=7, seed=3)
        for part, dataset in zip(parts, (memory, disk), strict=True)
    ]
    assert len(training[0]) == len(training[1]) == 3
    assert all(same(a, b) for a, b in zip(*(part.epoch(1) for part in training), strict=True))


def test_folder_too_large_for_memory_stays_on_disk(
    in_memory_and_on_disk: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listed_files, "available_memory", lambda: 100)
    memory, _ = in_memory_and_on_disk()
    memory.storage = "auto"
    assert isinstance(memory.load().train, ImageFiles)
    assert "read from disk during training" in caplog.text


def test_evaluation_yields_every_image_once_for_any_number_of_workers_and_processes(in_memory_and_on_disk: Any) -> None:
    _, disk = in_memory_and_on_disk()
    part = disk.load().test
    for workers, size in ((0, 1), (2, 1), (1, 3)):
        shares = [
            batches_in_order(changed(part, workers=workers), disk, batch_size=5, shard=Shard(rank, size))
            for rank in range(size)
        ]
        assert [index for batches in shares for batch in batches for index in batch.indices.tolist()] == list(range(24))


def test_evaluation_leaves_out_and_counts_unreadable_files(
    in_memory_and_on_disk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    _, disk = in_memory_and_on_disk(corrupt="skip")
    part = disk.load().test
    damage(part, 0, 1, 2, 3, 4, 9)  # a whole batch of 5, and one more
    seen = [index for batch in batches_in_order(part, disk, batch_size=5) for index in batch.indices.tolist()]
    assert seen == [5, 6, 7, 8, *range(10, 24)]
    assert "left out of the evaluation: 6 unreadable files: " in caplog.text


def test_test_images_are_resized_and_cropped_as_by_torchvision(tmp_path: Path) -> None:
    pixels = torch.randint(256, (3, 50, 37), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    image = v2.functional.to_pil_image(pixels)
    image.save(tmp_path / "image.png")
    expected = v2.CenterCrop(28)(v2.Resize(32)(Image.open(tmp_path / "image.png")))
    actual = torch.from_numpy(CenterSquare(28, 3, 32)(tmp_path / "image.png").copy())
    assert torch.equal(actual, v2.functional.pil_to_tensor(expected))


def test_memory_is_pinned_for_the_gpu_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    current = [torch.device("cuda:0")]

    @contextmanager
    def device(chosen: torch.device) -> Iterator[None]:
        current.append(chosen)
        yield
        current.pop()

    class Workers:
        def __iter__(self) -> Iterator[None]:
            seen.append(current[-1])
            return iter(())

    seen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device", device)
    assert not list(disk_loader._read(Workers(), torch.device("cuda:1")))
    assert seen == [torch.device("cuda:1")]
    assert len(current) == 1
