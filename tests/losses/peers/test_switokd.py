import math

import pytest
import torch
import torch.nn.functional as F
from support.plain_losses import batch_of, cross_entropy, divergence, outputs_of, probabilities
from torch import Tensor

from mcl.losses.switokd import SwitOKD, switch
from mcl.types import NetworkShape


@pytest.mark.parametrize("case", [0, 1, 2])
def test_switch(arrays, close, case):
    golden = arrays("switokd")
    teacher, student = (golden[f"pair.logits.{name}"][case] for name in ("teacher", "student"))
    state = switch(teacher, student, golden.labels("pair.labels")[case])
    for name in ("gap", "epsilon", "delta"):
        close(getattr(state, name), golden[f"pair.{name}"][case])
    assert state.paused.dtype == torch.bool
    assert state.paused.item() == bool(golden["pair.expert"][case])


def test_switch_takes_no_gradient_and_is_strict(random_logits):
    (teacher, student), labels = random_logits(2)
    assert not any(value.requires_grad for value in switch(teacher, student, labels))
    same = switch(teacher, teacher, labels)  # the teacher is not nearer to the labels
    assert not same.paused
    perfect = 1000.0 * F.one_hot(labels, 4).double()
    equal = switch(perfect, student, labels)  # nearer to the labels, but the gap equals its bound
    assert equal.gap == equal.delta
    assert not equal.paused


def pauses(teacher: Tensor, student: Tensor, labels: Tensor) -> bool:
    """Return whether a teacher pauses for a student, image by image and class by class."""
    t = s = gap = 0.0
    for i, label in enumerate(labels.tolist()):
        of_teacher, of_student = (probabilities(logits.detach()[i]) for logits in (teacher, student))
        for c in range(len(of_teacher)):
            t += abs(of_teacher[c].item() - (c == label)) / len(labels)
            s += abs(of_student[c].item() - (c == label)) / len(labels)
            gap += abs(of_teacher[c].item() - of_student[c].item()) / len(labels)
    return gap > s - math.exp(-t / (t + s)) * t and t < s


@pytest.mark.parametrize(
    ("teachers", "margins", "expected_pauses"),
    [
        (1, [2.5, 2.0, 0.0, 1.0], [[0, 1, 1]]),
        (1, [4.0, 0.5, 0.0, 0.5], [[1, 1, 1]]),
        (2, [4.0, 1.0, 3.0, 1.0], [[1, 1], [0, 1]]),
        (3, [4.0, 0.0, 3.0, 1.5], [[1], [0], [1]]),
    ],
)
def test_four_networks_with_loops(random_logits, close, gradients, teachers, margins, expected_pauses):
    """A margin draws the logits of a network to the labels."""
    drawn, labels = random_logits(4)
    shift = torch.tensor(margins, dtype=torch.float64)[:, None, None] * F.one_hot(labels, 4)
    logits = (0.5 * drawn.detach() + shift).requires_grad_()
    loss = SwitOKD(shapes=[NetworkShape([8], [8], 4)] * 4, teachers=teachers)
    total = loss.total(loss(outputs_of(logits), batch_of(labels)))

    paused = [[pauses(logits[i], logits[j], labels) for j in range(teachers, 4)] for i in range(teachers)]
    assert paused == [[bool(each) for each in row] for row in expected_pauses]
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        if i < teachers and all(paused[i]):
            continue
        expected = expected + cross_entropy(logits[i], labels)
        for j in range(4):
            if j != i and not (i < teachers <= j and paused[i][j - teachers]):
                expected = expected + divergence(logits[j], logits[i], 1.0)
    close(total, expected)
    close(gradients(total, logits)[0], gradients(expected, logits)[0])
    assert loss.paused().tolist() == [i < teachers and all(paused[i]) for i in range(4)]
