"""Draws of positives and negatives: the right classes, uniform, and determined by seed, step and sample."""

import pytest
import torch
from scipy.stats import chisquare

from mcl.errors import UserError
from mcl.losses.contrast_sampler import ContrastSampler, mix

SIZES = [5, 1, 9, 0, 3, 12]  # of classes, mixed in the order of the samples
LABELS = torch.arange(6).repeat_interleave(torch.tensor(SIZES))
LABELS = LABELS[torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(0))]
ALL = torch.arange(len(LABELS))


def draws(positives: int = 3, negatives: int = 50, seed: int = 0) -> ContrastSampler:
    return ContrastSampler(LABELS, positives, negatives, seed)


def frequencies(drawn: torch.Tensor, allowed: torch.Tensor) -> list[int]:
    counts = drawn.flatten().bincount(minlength=len(LABELS))
    assert counts[~allowed].sum() == 0
    return counts[allowed].tolist()


def test_positives_are_others_of_the_class():
    positives, _ = draws(positives=20)(ALL, 0)
    assert positives.shape == (len(LABELS), 20)
    assert torch.equal(LABELS[positives], LABELS[:, None].expand_as(positives))
    alone = LABELS == 1
    assert (positives != ALL[:, None])[~alone].all()
    assert torch.equal(positives[alone], ALL[alone, None].expand(1, 20))


def test_negatives_are_of_other_classes():
    _, negatives = draws(negatives=500)(ALL, 0)
    assert negatives.shape == (len(LABELS), 500)
    assert (LABELS[negatives] != LABELS[:, None]).all()


@pytest.mark.parametrize("label", [0, 2, 5])
def test_draws_are_uniform_over_candidates(label):
    sample = int((label == LABELS).nonzero()[1])
    positives, negatives = draws(positives=30_000, negatives=60_000, seed=1)(torch.tensor([sample]), 7)
    assert chisquare(frequencies(positives, (label == LABELS) & (sample != ALL))).pvalue > 1e-3
    assert chisquare(frequencies(negatives, label != LABELS)).pvalue > 1e-3


def test_draws_of_successive_steps_are_jointly_uniform():
    sample = int((LABELS == 2).nonzero()[0])
    one = draws(positives=1, negatives=1)
    steps = [one(torch.tensor([sample]), step) for step in range(4000)]
    positives, negatives = (torch.cat(part) for part in zip(*steps, strict=True))
    assert chisquare(frequencies(positives, (LABELS == 2) & (sample != ALL))).pvalue > 1e-3
    assert chisquare(frequencies(negatives, LABELS != 2)).pvalue > 1e-3


def test_two_samples_draw_independently():
    pair = (LABELS == 5).nonzero()[:2, 0]
    _, negatives = draws(negatives=40_000)(pair, 0)
    joint = torch.stack([LABELS[row] for row in negatives])  # classes drawn by both at once
    table = torch.zeros(6, 6).index_put(tuple(joint), torch.tensor(1.0), accumulate=True)
    sizes = torch.tensor(SIZES, dtype=torch.float64)
    sizes[5] = 0
    expected = torch.outer(sizes, sizes) / sizes.sum() ** 2 * 40_000
    some = expected > 0
    assert chisquare(table[some].numpy(), expected[some].numpy()).pvalue > 1e-3


def test_draws_do_not_depend_on_the_rest_of_the_batch():
    drawing = draws()
    together = drawing(torch.tensor([4, 9, 2]), 5)
    for row, sample in enumerate([4, 9, 2]):
        alone = drawing(torch.tensor([sample]), 5)
        assert all(torch.equal(many[row], one[0]) for many, one in zip(together, alone, strict=True))


def test_draws_change_with_step_seed_and_sample():
    index = torch.tensor([4])
    _, reference = draws()(index, 5)
    assert torch.equal(draws()(index, 5)[1], reference)
    sibling = (LABELS[4] == LABELS).nonzero()[:, 0]
    for other in (
        draws()(index, 6)[1],
        draws(seed=1)(index, 5)[1],
        draws()(sibling[sibling != 4][:1], 5)[1],
    ):
        assert (other == reference).float().mean() < 0.3


def test_two_classes_are_enough():
    positives, negatives = ContrastSampler(torch.tensor([0, 0, 1]), 1, 2)(torch.arange(3), 0)
    assert positives.tolist() == [[1], [0], [2]]
    assert negatives[:2].tolist() == [[2, 2], [2, 2]]
    assert set(negatives[2].tolist()) <= {0, 1}


@pytest.mark.parametrize("labels", [[0, 0, 0], [3], []])
def test_one_class_alone_is_refused(labels):
    with pytest.raises(UserError, match=r"one class.*loss/contrast=batch"):
        ContrastSampler(torch.tensor(labels, dtype=torch.int64), 1, 1)


def test_tables_are_not_saved():
    assert not draws().state_dict()


def test_mix_is_the_finalizer_of_splitmix64():
    def expected(x: int) -> int:
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    numbers = [0, 1, -1, 2**63 - 1, -(2**63), 123456789]
    assert [n % 2**64 for n in mix(torch.tensor(numbers)).tolist()] == [expected(n % 2**64) for n in numbers]
    gamma = 0x9E3779B97F4A7C15 - 2**64
    assert mix(torch.tensor(gamma)).item() % 2**64 == 0xE220A8397B1DCDAF  # the first number of SplitMix64 from seed 0
