"""Several differently augmented views of each image."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from mcl.data.augmentation import Augmentation
from mcl.data.digits import Digits
from mcl.data.imagenet import ImageNet
from mcl.data.loaders import TrainingLoader
from mcl.data.samplers import Shuffle
from mcl.data.synthetic import Synthetic
from mcl.distributed.sharding import Shard
from mcl.errors import UserError
from mcl.losses.independent import Independent
from mcl.training.options import TrainerOptions
from mcl.training.views import count_views, view_notes

Make = Callable[..., TrainingLoader]


def synthetic(augmentation: Augmentation | None) -> Synthetic:
    return Synthetic(
        classes=3, channels=3, image_size=8, train_per_class=4, test_per_class=1, noise=0.2, augmentation=augmentation
    )


def imagenet(root: Path) -> ImageNet:
    rng = torch.Generator().manual_seed(0)
    for split in ("train", "val"):
        for wnid in ("n01440764", "n01443537", "n01484850"):
            folder = root / split / wnid
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(4):
                pixels = torch.randint(256, (20, 20, 3), generator=rng, dtype=torch.uint8).numpy()
                Image.fromarray(pixels).save(folder / f"{wnid}_{i}.JPEG")
    crop = v2.RandomResizedCrop(8)
    return ImageNet(
        root=str(root), transform=[crop], image_size=8, resize=8, partial=True, workers=0, cache_dir=str(root)
    )


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """``make(views=2)``: a loader of 12 images in batches of 4, in memory or on disk."""
    dataset = synthetic(Augmentation(padding=2, flip=True)) if request.param == "memory" else imagenet(tmp_path)
    split = dataset.load().train

    def build(**options: object) -> TrainingLoader:
        return TrainingLoader(split, dataset, Shuffle(), batch_size=4, seed=1, **options)  # type: ignore[arg-type]

    return build


def images(loader: TrainingLoader, epoch: int = 0, start: int = 0) -> list[Tensor]:
    return [batch.images for batch in loader.epoch(epoch, start)]


def test_the_first_view_is_the_only_one_of_other_runs(make: Make) -> None:
    for one, several in zip(images(make()), images(make(views=3)), strict=True):
        assert several.shape == (3, *one.shape)
        assert torch.equal(several[0], one)
        assert not torch.equal(several[1], one)
        assert not torch.equal(several[1], several[2])


def test_views_of_a_batch_depend_on_seed_epoch_and_step_alone(make: Make) -> None:
    whole = images(make(views=2))
    assert torch.equal(torch.stack(images(make(views=2), start=1)), torch.stack(whole[1:]))
    assert not torch.equal(images(make(views=2), epoch=1)[0][1], whole[0][1])


def test_processes_share_the_views_of_a_batch(make: Make) -> None:
    shards = [images(make(views=2, shard=Shard(rank, 2))) for rank in range(2)]
    for whole, *parts in zip(images(make(views=2)), *shards, strict=True):
        assert torch.equal(torch.cat(parts, dim=1), whole)


def test_views_keep_the_memory_format(make: Make) -> None:
    plain, last = (
        images(make(views=2, memory_format=kind))[0] for kind in (torch.contiguous_format, torch.channels_last)
    )
    assert torch.equal(plain, last)
    assert last[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("views", "asks", "expected"),
    [(None, False, 1), (None, True, 2), ("shared", True, 1), ("separate", False, 2)],
)
def test_an_option_overrides_what_the_loss_asks(views: str | None, asks: bool, expected: int) -> None:
    options = TrainerOptions(epochs=1, batch_size=4, device="cpu", views=views)  # type: ignore[arg-type]
    loss = Independent(widths=[[4], [4]])
    loss.separate_views = asks
    assert count_views(options, loss, synthetic(Augmentation(padding=1)), 2) == expected
    assert count_views(options, loss, synthetic(Augmentation(padding=1)), 1) == 1
    if expected == 2:
        with pytest.raises(UserError, match=r"not augmented, so all views would be equal.*trainer\.views=shared"):
            count_views(options, loss, synthetic(None), 2)


def test_datasets_know_whether_their_images_are_random(tmp_path: Path) -> None:
    assert Digits(augmentation=Augmentation(padding=1)).is_random
    assert not Digits(augmentation=None).is_random
    assert imagenet(tmp_path).is_random


@pytest.mark.parametrize(("views", "networks", "notes"), [("separate", 1, 1), ("separate", 2, 0), ("shared", 1, 0)])
def test_separate_views_of_one_network_are_noted(
    views: Literal["shared", "separate"], networks: int, notes: int
) -> None:
    options = TrainerOptions(epochs=1, batch_size=4, device="cpu", views=views)
    assert len(view_notes(options, networks)) == notes
