"""Samplers: the images of each batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mcl.data.samplers import ClassBalanced, Shuffle
from mcl.errors import UserError


def labels_of(counts: list[int]) -> torch.Tensor:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def names(counts: list[int]) -> list[str]:
    return [f"n{label}" for label in range(len(counts))]


def composition(batch: torch.Tensor, labels: torch.Tensor) -> list[int]:
    """Return the numbers of images per class in a batch, without absent classes, in increasing order."""
    return sorted(count for count in labels[batch].bincount().tolist() if count)


@pytest.mark.parametrize(
    "sampler",
    [Shuffle(), ClassBalanced(), ClassBalanced(replacement=True)],
    ids=lambda one: f"{type(one).__name__}{vars(one)}",
)
def test_order_is_a_function_of_seed_and_epoch(sampler):
    labels = labels_of([20] * 8)

    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(sampler.batches(labels, 16, seed=seed, epoch=epoch)).tolist()

    torch.manual_seed(5)
    first = order(1, 2)
    torch.manual_seed(6)
    assert order(1, 2) == first
    assert order(1, 3) != first != order(2, 2)
    assert order(2, 1) != first


@pytest.mark.parametrize(
    "sampler",
    [Shuffle(), Shuffle(drop_last=True), ClassBalanced(replacement=True)],
    ids=lambda one: f"{type(one).__name__}{vars(one)}",
)
@pytest.mark.parametrize("counts", [[8, 8], [9, 8], [10, 9], [5, 30, 40]])
def test_number_of_steps_is_known_in_advance(sampler, counts):
    batches = sampler.batches(labels_of(counts), 8, seed=0, epoch=0)
    assert len(batches) == sampler.steps_per_epoch(counts, 8)


def test_shuffle_shows_every_image_once():
    batches = Shuffle().batches(labels_of([10, 9]), 8, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [8, 8, 3]
    assert torch.cat(batches).sort().values.tolist() == list(range(19))


def test_shuffle_drops_a_last_batch_of_one_image_and_notes_it():
    sampler = Shuffle()
    assert [len(batch) for batch in sampler.batches(labels_of([9, 8]), 8, seed=0, epoch=0)] == [8, 8]
    assert "1 of the 17" in sampler.check([9, 8], 8, names([9, 8]))[0]
    assert sampler.check([10, 8], 8, names([10, 8])) == []


def test_shuffle_drops_the_last_batch_on_request():
    sampler = Shuffle(drop_last=True)
    assert [len(batch) for batch in sampler.batches(labels_of([10, 9]), 8, seed=0, epoch=0)] == [8, 8]
    assert "3 of the 19" in sampler.check([10, 9], 8, names([10, 9]))[0]


def test_class_balanced_batch_has_distinct_classes_with_distinct_images():
    labels = labels_of([50] * 100)
    batches = ClassBalanced().batches(labels, 128, seed=0, epoch=0)
    assert len(batches) == 5000 // 128
    for batch in batches:
        assert len(batch.unique()) == 128
        assert composition(batch, labels) == [2] * 64


def test_class_balanced_batches_differ_in_their_classes():
    labels = labels_of([50] * 100)
    first, second = (set(labels[b].tolist()) for b in ClassBalanced().batches(labels, 64, seed=0, epoch=0)[:2])
    assert first != second


@pytest.mark.parametrize(
    ("classes", "batch_size", "per_class", "expected"),
    [
        (10, 128, 2, [12] * 2 + [13] * 8),
        (10, 20, 2, [2] * 10),
        (10, 22, 2, [2] * 8 + [3] * 2),
        (100, 9, 2, [2, 2, 2, 3]),
        (3, 32, 4, [10, 11, 11]),
        (10, 8, 1, [1] * 8),
    ],
)
def test_class_balanced_batch_is_always_full(classes, batch_size, per_class, expected):
    labels = labels_of([20] * classes)
    batches = ClassBalanced(per_class=per_class).batches(labels, batch_size, seed=0, epoch=0)
    assert all(composition(batch, labels) == expected for batch in batches)
    fuller = {tuple(labels[batch].bincount(minlength=classes).tolist()) for batch in batches}
    assert len(fuller) > 1 or len(set(expected)) == 1 or len(batches) == 1, "always the same classes have one more"


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    batch_size=st.integers(2, 24),
    per_class=st.integers(1, 5),
    replacement=st.booleans(),
    seed=st.integers(0, 2**64),
)
def test_every_setting_that_passes_the_check_gives_full_valid_batches(counts, batch_size, per_class, replacement, seed):
    sampler = ClassBalanced(per_class=per_class, replacement=replacement)
    try:
        sampler.check(counts, batch_size, names(counts))
    except UserError:
        return
    labels = labels_of(counts)
    for batch in sampler.batches(labels, batch_size, seed=seed, epoch=0):
        assert len(batch) == batch_size
        assert replacement or len(batch.unique()) == batch_size
        amounts = composition(batch, labels)
        assert amounts[0] >= per_class
        assert amounts[-1] - amounts[0] <= 1


def test_class_balanced_can_use_every_image_of_a_class():
    labels = labels_of([4, 4])
    (batch,) = ClassBalanced().batches(labels, 8, seed=0, epoch=0)
    assert batch.sort().values.tolist() == list(range(8))


def test_class_balanced_draws_every_pair_of_a_class_equally_often():
    labels = labels_of([4, 4])
    pairs = torch.zeros(8, 8)
    for epoch in range(1500):
        for batch in ClassBalanced().batches(labels, 4, seed=0, epoch=epoch):
            pairs[batch[:, None], batch] += 1
    same_class = (labels[:, None] == labels) & ~torch.eye(8, dtype=torch.bool)
    expected = 2 * 1500 / 6  # two batches an epoch, six pairs a class
    assert (pairs[same_class] / expected - 1).abs().max() < 0.2


def test_replacement_fills_a_batch_from_classes_that_are_too_small():
    labels = labels_of([1, 30])
    for batch in ClassBalanced(replacement=True).batches(labels, 8, seed=0, epoch=0):
        assert composition(batch, labels) == [4, 4]


@pytest.mark.parametrize(
    ("sampler", "counts", "batch_size", "named"),
    [
        (Shuffle(), [9, 9], 1, ["trainer.batch_size=1"]),
        (ClassBalanced(), [9, 9], 1, ["trainer.batch_size=1"]),
        (Shuffle(), [9, 9], 32, ["18 training images", "trainer.batch_size=18"]),
        (ClassBalanced(), [9, 9], 32, ["18 training images", "sampler.replacement=true"]),
        (ClassBalanced(), [9, 1, 9, 1], 4, ["n1 (1), n3 (1)", "sampler.replacement=true", "2 distinct images"]),
        (ClassBalanced(), [20, 4], 10, ["n1 (4)", "5 distinct images"]),
        (ClassBalanced(per_class=8), [20, 20], 4, ["sampler.per_class=8", "trainer.batch_size=4"]),
        (ClassBalanced(replacement=True), [20, 0], 4, ["n1", "sampler=shuffle"]),
    ],
)
def test_errors_name_the_options_to_change(sampler, counts, batch_size, named):
    with pytest.raises(UserError) as error:
        sampler.check(counts, batch_size, names(counts))
    assert all(text in str(error.value) for text in named), str(error.value)


def test_class_balanced_describes_its_batches():
    assert ClassBalanced().check([20] * 10, 128, names([20] * 10)) == []
    assert ClassBalanced().describe([20] * 10, 128) == "12 or 13 images of each of 10 classes"
    assert ClassBalanced().describe([20] * 100, 128) == "2 images of each of 64 classes"


def test_per_class_must_be_positive():
    with pytest.raises(UserError, match="per_class=0"):
        ClassBalanced(per_class=0)
