"""Augmentation of whole batches, against torchvision's functions on one image with the same numbers."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from mcl.data.augmentation import Augmentation
from mcl.data.loaders import TrainingLoader
from mcl.data.mixing import Mixing
from mcl.data.random_boxes import draw_boxes, edges
from mcl.data.random_operations import COLUMNS, OPERATIONS, RandomOperations
from mcl.data.samplers import ClassBalanced
from mcl.data.synthetic import Synthetic
from mcl.distributed.sharding import Shard
from mcl.errors import UserError
from mcl.types import Batch

TORCHVISION = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}
MODERN = Augmentation(padding=2, flip=True, crop_scale=0.3, policy="trivial", erasing=0.5)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, channels: int = 3, side: int = 32) -> Tensor:
    """Return smooth random images (count, channels, side, side) uint8."""
    noise = torch.randint(256, (count, channels, side, side), generator=rng(), dtype=torch.uint8).float()
    return F.avg_pool2d(noise, 3, 1, 1).mul(1.4).clamp(0, 255).to(torch.uint8)


def test_plain_draws_are_those_of_earlier_versions() -> None:
    draws = Augmentation(padding=4, flip=True).draw(3, rng(5))
    assert draws.dtype == torch.int64
    assert torch.equal(draws, Augmentation(padding=4, flip=True, operations=3).draw(3, rng(5)))
    assert torch.equal(draws[:, :2], torch.randint(9, (3, 2), generator=rng(5)))


@pytest.mark.parametrize("side", [8, 32, 33])
def test_resized_crops_are_those_of_torchvision(side: int) -> None:
    augmentation, images = Augmentation(crop_scale=0.1, flip=True), pictures(60, side=side)
    draws = augmentation.draw(60, rng())
    result = augmentation.apply(images, draws)
    corners = edges(draws[:, 3:7], side, side, least=1)
    assert len({*map(tuple, corners.tolist())}) > 40
    for image, (left, top, right, bottom), flip, cropped in zip(
        images, corners.tolist(), draws[:, 2], result, strict=True
    ):
        expected = v2.functional.resized_crop(
            image.float(), top, left, bottom - top, right - left, [side, side], antialias=True
        )
        expected = expected.flip(-1) if flip else expected
        assert (expected - cropped).abs().max() < 1.01  # rounded after each of two directions


def test_sizes_of_boxes_have_the_drawn_shares_and_shapes() -> None:
    boxes = draw_boxes(20_000, (0.25, 1.0), (3 / 4, 4 / 3), rng())
    height, width, below, beside = boxes.unbind(1)
    area, ratio = height * width, (width / height).log()
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert area.min() >= 0.25 - 1e-9
    assert float(area[area < 0.7].mean()) == pytest.approx(0.475, abs=0.01)  # uniform where every shape fits
    assert ratio.exp().max() <= 4 / 3 + 1e-9
    assert abs(float(ratio.mean())) < 0.01
    assert float(below.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(beside.mean()) == pytest.approx(0.5, abs=0.01)


def test_no_box_is_drawn_if_none_fits() -> None:
    assert (draw_boxes(5, (0.9, 1.0), (4.0, 5.0), rng())[:, :2] == 0).all()


@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 8)])
@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_operations_are_those_of_torchvision(policy: str, channels: int, side: int) -> None:
    images, operations = pictures(500, channels, side), RandomOperations(policy, operations=1, strength=11)  # type: ignore[arg-type]
    draws, reference = operations.draw(500, rng()), TORCHVISION[policy]()
    result = operations.apply(images, draws)
    assert {OPERATIONS[int(number)] for number in draws[:, 0]} == set(reference._AUGMENTATION_SPACE)
    for image, (number, bin_, sign), changed in zip(images, draws.long().tolist(), result, strict=True):
        name = OPERATIONS[number]
        strengths, signed = reference._AUGMENTATION_SPACE[name]
        table = strengths(31, side, side)
        strength = 0.0 if table is None else float(table[bin_]) * (sign if signed else 1)
        expected = reference._apply_image_or_video_transform(
            image, name, strength, interpolation=v2.InterpolationMode.NEAREST, fill=reference._fill
        )
        difference = (expected.int() - changed.int()).abs()
        if name == "Color":  # its gray levels are rounded down: an error of the last bit of a float can show
            assert difference.max() <= 1
            assert (difference > 0).float().mean() < 0.01
        else:
            assert difference.max() == 0, name


def test_several_operations_follow_one_another() -> None:
    images, two = pictures(40), RandomOperations("rand", operations=2)
    one, draws = RandomOperations("rand", operations=1), two.draw(40, rng())
    first, second = draws.split(COLUMNS, dim=1)
    assert torch.equal(two.apply(images, draws), one.apply(one.apply(images, first), second))


def test_erasing_fills_some_images_with_the_mean_color() -> None:
    augmentation, images = Augmentation(erasing=0.5), torch.rand(400, 3, 16, 16, generator=rng()) + 1
    erased = augmentation.erase(images, augmentation.draw(400, rng()))
    share = (erased == 0).all(1).float().mean((1, 2))
    assert 150 < int((share > 0).sum()) < 250
    assert torch.equal(erased[erased != 0], images[erased != 0])
    assert float(share[share > 0].min()) > 0.02 * 0.8
    assert float(share.max()) < 0.33 * 1.3
    layout = images.to(memory_format=torch.channels_last)
    assert augmentation.erase(layout, augmentation.draw(400, rng())).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_scale": 0.0}, "crop_scale=0.0: must be a share"),
        ({"erasing": 1.5}, "erasing=1.5: must be a probability"),
        ({"policy": "trivia"}, "Did you mean 'trivial'"),
        ({"policy": "rand", "strength": 31}, "strength=31: must be from 0 to 30"),
        ({"policy": "rand", "operations": 0}, "operations=0: must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augmentation(**options)  # type: ignore[arg-type]


def test_only_an_augmentation_that_changes_something_is_random() -> None:
    assert not Augmentation().is_random
    assert not Augmentation(strength=3).is_random
    assert all(each.is_random for each in (Augmentation(erasing=0.1), Augmentation(crop_scale=0.5), MODERN))


@pytest.fixture(scope="module")
def load() -> Callable[..., list[Batch]]:
    """``load(rank, processes, start)``: batches of epoch 1, with everything on."""
    dataset = Synthetic(classes=4, image_size=8, train_per_class=12, test_per_class=1, augmentation=MODERN)
    train = dataset.load().train

    def batches(rank: int = 0, processes: int = 1, start: int = 0, **options: object) -> list[Batch]:
        loader = TrainingLoader(
            train,
            dataset,
            ClassBalanced(),
            batch_size=16,
            seed=3,
            shard=Shard(rank, processes),
            **{"mixing": Mixing(0.5, 1.0), **options},  # type: ignore[arg-type]
        )
        return list(loader.epoch(1, start=start))

    return batches


def test_two_processes_see_together_what_one_sees(load: Callable[..., list[Batch]]) -> None:
    for whole, *parts in zip(load(), load(0, 2), load(1, 2), strict=True):
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
        for field in ("labels", "share"):
            assert torch.equal(torch.cat([getattr(part.mixed, field) for part in parts]), getattr(whole.mixed, field))


def test_an_epoch_resumes_with_the_same_images(load: Callable[..., list[Batch]]) -> None:
    whole, rest = load(), load(start=1)
    assert len(rest) == len(whole) - 1
    assert all(torch.equal(one.images, other.images) for one, other in zip(whole[1:], rest, strict=True))
    assert torch.equal(whole[1].mixed.share, rest[0].mixed.share)  # type: ignore[union-attr]


def test_overfitting_changes_no_image(load: Callable[..., list[Batch]]) -> None:
    first, second = load(overfit=True)[:2]
    assert first.mixed is None
    assert torch.equal(first.images, second.images)
