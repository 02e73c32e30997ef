"""Augmentation and batches."""

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Images
from mcl.data.loaders import TrainingLoader, batches_in_order
from mcl.data.normalization import Normalization
from mcl.data.samplers import ClassBalanced, Sampler, Shuffle
from mcl.data.synthetic import Synthetic
from mcl.distributed.sharding import Shard
from mcl.errors import UserError
from mcl.types import Batch

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


@pytest.fixture
def images() -> Images:
    pixels = torch.randint(1, 256, (60, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    return Images(pixels.to(torch.uint8), torch.arange(60) % 5)


def loader(images: Images, sampler: Sampler | None = None, augmentation: Augmentation | None = None, **options):
    dataset = Synthetic(mean=list(MEAN), std=list(STD), augmentation=augmentation or Augmentation(2, True))
    return TrainingLoader(images, dataset, sampler or Shuffle(), **{"batch_size": 8, "seed": 1} | options)


def evaluation_batches(images: Images, **options) -> Iterator[Batch]:
    return batches_in_order(images, Synthetic(mean=list(MEAN), std=list(STD)), batch_size=16, **options)


def same(one: Batch, other: Batch) -> bool:
    """Return whether images, labels and indices are equal."""
    return all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))


def one_by_one(image: torch.Tensor, draw: torch.Tensor, padding: int, mode: str) -> torch.Tensor:
    """Pad, crop and flip a single image (C, H, W)."""
    top, left, flipped = draw.tolist()
    padded = F.pad(image.float(), [padding] * 4, mode).to(image.dtype)
    cropped = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
    return cropped.flip(2) if flipped else cropped


@pytest.mark.parametrize(
    ("padding", "flip", "mode"),
    [
        *((0, False, "constant"), (0, True, "constant"), (2, False, "constant"), (3, True, "constant")),
        *((7, True, "constant"), (0, True, "reflect"), (1, False, "reflect"), (3, True, "reflect")),
    ],
)
@pytest.mark.parametrize("shape", [(3, 6, 6), (1, 4, 7)])
def test_batch_is_augmented_as_its_images_one_by_one(padding, flip, mode, shape):
    rng = torch.Generator().manual_seed(3)
    pixels = torch.randint(1, 256, (20, *shape), generator=rng).to(torch.uint8)
    augmentation = Augmentation(padding, flip, padding_mode=mode)
    indices = torch.randint(20, (64,), generator=rng)
    draws = augmentation.draw(64, rng)
    expected = torch.stack([one_by_one(pixels[i], draw, padding, mode) for i, draw in zip(indices, draws, strict=True)])
    assert torch.equal(augmentation.apply(pixels[indices], draws), expected)


def test_draws_cover_every_offset_and_both_sides():
    draws = Augmentation(2, True).draw(2000, torch.Generator().manual_seed(0))
    assert [column.unique().tolist() for column in draws.unbind(1)] == [[0, 1, 2, 3, 4]] * 2 + [[0, 1]]
    assert Augmentation(2, False).draw(100, torch.Generator())[:, 2].sum() == 0
    assert len({tuple(draw) for draw in draws.tolist()}) == 50  # rows, columns and flips are independent


def test_negative_padding_is_an_error():
    with pytest.raises(UserError, match="padding=-1"):
        Augmentation(padding=-1)


def test_images_too_small_to_be_mirrored_are_an_error():
    with pytest.raises(UserError, match=r"padding=8: with padding_mode=reflect, it must be less than the 8 pixels"):
        Synthetic(image_size=8, augmentation=Augmentation(padding=8, padding_mode="reflect"))
    with pytest.raises(UserError, match="padding_mode=mirror: expected one of constant, reflect"):
        Augmentation(padding_mode="mirror")


def test_operations_for_gray_and_color_refuse_other_channels():
    for channels in (2, 4):
        with pytest.raises(UserError, match=rf"policy=rand: .* 1 or 3 channels, but these have {channels}"):
            Synthetic(channels=channels, augmentation=Augmentation(policy="rand"))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_normalization(images, memory_format):
    normalize = Normalization(MEAN, STD, device="cpu", memory_format=memory_format)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    result = normalize(images.images)
    assert result.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(result, (images.images / 255 - mean) / std)


def test_padding_is_black_before_normalization(images):
    augmentation = Augmentation(padding=6)
    black = -torch.tensor(MEAN) / torch.tensor(STD)
    for batch in loader(images, augmentation=augmentation).epoch(0):
        outside = (batch.images - black[:, None, None]).abs().amax(1) < 1e-6  # no pixel of the images is 0
        assert outside.any()
        rest = batch.images.permute(0, 2, 3, 1)[~outside]
        assert (rest > black).all()


@pytest.mark.parametrize("sampler", [Shuffle(), ClassBalanced()], ids=["shuffle", "class_balanced"])
def test_starting_within_an_epoch_gives_the_same_batch(images, sampler):
    batches = list(loader(images, sampler=sampler).epoch(3))
    for start in range(len(batches) + 1):
        rest = list(loader(images, sampler=sampler).epoch(3, start=start))
        assert len(rest) == len(batches) - start
        for reached, jumped in zip(batches[start:], rest, strict=True):
            assert same(reached, jumped)
            assert reached.step == jumped.step


def test_epochs_and_seeds_differ_in_order_and_augmentation(images):
    still = Images(images.images[:1].expand(60, -1, -1, -1), images.labels)  # one image: only augmentation shows

    def first(seed: int, epoch: int) -> tuple[list[int], torch.Tensor]:
        batch = next(loader(still, seed=seed).epoch(epoch))
        return batch.indices.tolist(), batch.images

    order, pixels = first(0, 0)
    for seed, epoch in ((0, 1), (1, 0), (1, 1)):
        other_order, other_pixels = first(seed, epoch)
        assert other_order != order
        assert not torch.equal(other_pixels, pixels)
    assert first(0, 0)[0] == order
    assert torch.equal(first(0, 0)[1], pixels)


def test_length_is_the_number_of_steps(images):
    for sampler in (Shuffle(), Shuffle(drop_last=True), ClassBalanced()):
        training = loader(images, sampler=sampler)
        assert len(training) == len(list(training.epoch(0)))


def test_batch_holds_the_labels_and_indices_of_its_images(images):
    for batch in loader(images, augmentation=Augmentation()).epoch(0):
        assert torch.equal(batch.labels, images.labels[batch.indices])
        expected = Normalization(MEAN, STD, device="cpu")(images.images[batch.indices])
        assert torch.equal(batch.images, expected)


def test_batches_have_the_requested_dtype(images):
    assert next(loader(images, dtype=torch.bfloat16).epoch(0)).images.dtype == torch.bfloat16


def test_no_value_is_read_back_from_the_device(images):
    # Tensors on the meta device have no values: whatever would wait for one raises.
    training = loader(images, device="meta", memory_format=torch.channels_last)
    batches = list(training.epoch(0, start=2))
    assert len(batches) == len(training) - 2
    assert all(tensor.is_meta for batch in batches for tensor in batch[:3])
    assert all(batch.images.is_meta for batch in evaluation_batches(images, device="meta"))


def test_overfitting_repeats_the_first_batch_unaugmented(images):
    training = loader(images, overfit=True)
    batches = list(training.epoch(0)) + list(training.epoch(1, start=3))
    assert len(batches) == 2 * len(training) - 3
    first = next(loader(images, augmentation=Augmentation()).epoch(0))
    for batch in batches:
        assert same(first, batch)


def test_loader_checks_the_actual_number_of_images_of_each_class(images):
    lonely = Images(images.images[:11], torch.tensor([0] * 10 + [1]))
    with pytest.raises(UserError, match="class 1"):
        loader(lonely, sampler=ClassBalanced(), batch_size=4)


def test_evaluation_yields_every_image_once_and_unchanged(images):
    batches = list(evaluation_batches(images))
    assert [len(batch.labels) for batch in batches] == [16, 16, 16, 12]
    joined = [torch.cat(parts) for parts in list(zip(*batches, strict=True))[:3]]
    assert torch.equal(joined[0], Normalization(MEAN, STD, device="cpu")(images.images))
    assert torch.equal(joined[1], images.labels)
    assert joined[2].tolist() == list(range(60))


def test_steps_are_counted_through_all_epochs(images):
    training = loader(images)
    assert [batch.step for epoch in (0, 1) for batch in training.epoch(epoch)] == list(range(2 * len(training)))


@pytest.mark.parametrize("sampler", [Shuffle(), ClassBalanced()], ids=["shuffle", "class_balanced"])
@pytest.mark.parametrize("size", [2, 3])
def test_shards_of_all_processes_form_the_batches_of_one(images, sampler, size):
    alone = list(loader(images, sampler=sampler, batch_size=12).epoch(1))
    shared = [loader(images, sampler=sampler, batch_size=12, shard=Shard(rank, size)) for rank in range(size)]
    for full_batch, *parts in zip(alone, *(part.epoch(1) for part in shared), strict=True):
        together = Batch(*(torch.cat(values) for values in list(zip(*parts, strict=True))[:3]))
        assert same(full_batch, together)
        assert {part.step for part in parts} == {full_batch.step}


@pytest.mark.parametrize(
    ("batch_size", "size", "last"),
    [(8, 2, [2, 2]), (9, 3, [2, 2, 2]), (16, 4, [3, 3, 3, 3]), (14, 7, [2, 2]), (58, 2, [2]), (57, 3, [3])],
)
def test_last_batch_is_sharded_without_dropping_an_image(images, batch_size, size, last):
    training = [loader(images, batch_size=batch_size, shard=Shard(rank, size)) for rank in range(size)]
    (full_batch,) = list(loader(images, batch_size=batch_size).epoch(1))[-1:]
    parts = [list(part.epoch(1))[-1] for part in training]
    pieces = list(dict.fromkeys(tuple(part.indices.tolist()) for part in parts))
    assert [len(piece) for piece in pieces] == last
    assert [index for piece in pieces for index in piece] == full_batch.indices.tolist()
    assert {(len(part), batch.whole) for part, batch in zip(training, parts, strict=True)} == {
        (-(-60 // batch_size), len(full_batch.labels))
    }


@pytest.mark.parametrize("batch_size", [9, 2])
def test_batch_size_is_a_multiple_of_the_processes(images, batch_size):
    with pytest.raises(UserError, match=f"trainer.batch_size={batch_size} .* multiple of 2"):
        loader(images, batch_size=batch_size, shard=Shard(0, 2))


def test_evaluation_is_sharded_without_remainder(images):
    parts = [list(evaluation_batches(images, shard=Shard(rank, 7))) for rank in range(7)]
    seen = [index for part in parts for batch in part for index in batch.indices.tolist()]
    assert seen == list(range(60))
    assert all(sum(len(batch.labels) for batch in part) in (8, 9) for part in parts)


def test_error_for_images_that_do_not_fit_on_the_device_names_the_options_to_change(images, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(UserError, match=r"60 images \(0\.0 GB\) do not fit on cuda:0\. .*dataset\.limit"):
        images.to("cuda:0")
