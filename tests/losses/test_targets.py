"""Targets of the classification: smoothed labels, class weights, and two labels of mixed images."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.losses.classification import classification
from mcl.losses.independent import Independent
from mcl.types import Batch, Mixed, Outputs

N, B, C = 3, 12, 5


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(N, B, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LABELS = torch.arange(B) % C
MIXED = Mixed(LABELS.flip(0), torch.linspace(0.5, 1.0, B, dtype=torch.float64))
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.0, 1.5], dtype=torch.float64)


def test_smoothed_labels_are_those_of_torch(logits: Tensor) -> None:
    expected = sum(F.cross_entropy(each, LABELS, label_smoothing=0.1) for each in logits)
    torch.testing.assert_close(classification(logits, LABELS, smoothing=0.1), expected, rtol=1e-14, atol=0)


def test_mixed_labels_are_probabilities(logits: Tensor) -> None:
    share = MIXED.share[:, None]
    target = share * F.one_hot(LABELS, C) + (1 - share) * F.one_hot(MIXED.labels, C)
    for smoothing in (0.0, 0.1):
        expected = sum(F.cross_entropy(each, target, label_smoothing=smoothing) for each in logits)
        actual = classification(logits, LABELS, mixed=MIXED, smoothing=smoothing)
        torch.testing.assert_close(actual, expected, rtol=1e-13, atol=0)


def test_class_weights_are_factors_of_images(logits: Tensor) -> None:
    expected = sum((WEIGHTS[LABELS] * F.cross_entropy(each, LABELS, reduction="none")).mean() for each in logits)
    torch.testing.assert_close(classification(logits, LABELS, weights=WEIGHTS), expected, rtol=1e-14, atol=0)
    target = F.one_hot(LABELS, C).double()
    expected = sum(F.cross_entropy(each, target, WEIGHTS, label_smoothing=0.2) for each in logits)
    actual = classification(logits, LABELS, weights=WEIGHTS, smoothing=0.2)
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=0)


def test_parts_of_a_weighted_batch_add_up_to_the_whole(logits: Tensor) -> None:
    parts = [classification(logits[:, i : i + 4], LABELS[i : i + 4], weights=WEIGHTS) for i in (0, 4, 8)]
    whole = classification(logits, LABELS, weights=WEIGHTS)
    torch.testing.assert_close(torch.stack(parts).mean(), whole, rtol=1e-14, atol=0)


def test_a_loss_passes_on_what_it_was_given(logits: Tensor) -> None:
    loss = Independent(widths=[[4]] * N)
    loss.label_smoothing, loss.class_weights = 0.1, WEIGHTS
    outputs = [Outputs([each], [each]) for each in logits]
    batch = Batch(logits[0], LABELS, torch.arange(B), mixed=MIXED)
    expected = classification(logits, LABELS, mixed=MIXED, smoothing=0.1, weights=WEIGHTS)
    assert torch.equal(loss(outputs, batch)["classification"], expected)
    assert "class_weights" not in loss.state_dict()  # it follows from the data
