import pytest
import torch
import torch.nn.functional as F

from mcl.losses.switokd import switch


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
