"""Sampling rare classes more often."""

import pytest
import torch

from mcl.data.resampling import Resampled, count_earlier
from mcl.errors import UserError

COUNTS = [400, 100, 25, 0, 4]


def labels() -> torch.Tensor:
    values = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize(
    ("power", "shares"),
    [
        (0.0, [0.25, 0.25, 0.25, 0, 0.25]),
        (0.5, [20 / 37, 10 / 37, 5 / 37, 0, 2 / 37]),
        (1.0, [c / 529 for c in COUNTS]),
    ],
)
def test_classes_are_drawn_in_proportion_to_a_power_of_their_images(power: float, shares: list[float]) -> None:
    drawn = torch.cat(
        [images for epoch in range(40) for images in Resampled(power).batches(labels(), 16, seed=0, epoch=epoch)]
    )
    found = labels()[drawn].bincount(minlength=5) / len(drawn)
    torch.testing.assert_close(found, torch.tensor(shares), atol=0.01, rtol=0)


def test_every_image_of_a_class_is_used_before_one_is_used_again() -> None:
    order = torch.cat(Resampled(0.0).batches(labels(), 16, seed=1, epoch=0))
    for label, count in enumerate(COUNTS):
        if count:
            uses = order[labels()[order] == label].bincount(minlength=529)[labels() == label]
            assert int(uses.max() - uses.min()) <= 1


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(Resampled().batches(labels(), 16, seed=seed, epoch=epoch)).tolist()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_all_batches_are_full() -> None:
    sampler = Resampled()
    batches = sampler.batches(labels(), 16, seed=0, epoch=0)
    assert len(batches) == sampler.steps_per_epoch(COUNTS, 16) == 529 // 16
    assert {len(batch) for batch in batches} == {16}
    assert len(sampler.batches(labels()[:5], 16, seed=0, epoch=0)[0]) == 16  # fewer images than a batch


def test_positives_and_shares_are_told() -> None:
    assert Resampled(0.0).positives(COUNTS, 17) == pytest.approx(4.0)
    assert Resampled(0.5).describe(COUNTS, 16) == "5.4 to 54 % of each class"


def test_a_power_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"sampler.power=2: must be from 0 .* to 1"):
        Resampled(2)


def test_earlier_uses_are_counted() -> None:
    assert count_earlier(torch.tensor([2, 0, 2, 2, 0])).tolist() == [0, 0, 1, 2, 1]
