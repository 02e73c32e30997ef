"""Ramps of loss weights."""

import pytest
import torch

from mcl.errors import UserError
from mcl.losses.mcl import MCL
from mcl.losses.ramps import Constant, Linear, Sigmoid, Step, sigmoid_ramp
from mcl.types import Batch, Outputs


def test_sigmoid_ramp_of_the_published_methods():
    values = [sigmoid_ramp(epoch, 80) for epoch in (-3, 0, 20, 40, 80, 300)]
    assert values == pytest.approx([0.006738, 0.006738, 0.060055, 0.286505, 1, 1], abs=1e-6)
    assert sigmoid_ramp(0, 0) == 1


def test_ramps_end_at_their_weight():
    for ramp in (Sigmoid(2.0, 10), Linear(2.0, 10), Step(2.0, 10), Constant(2.0)):
        assert ramp(10) == ramp(1000) == 2.0
    assert [Linear(2.0, 10)(epoch) for epoch in (0, 5)] == [0, 1]
    assert [Step(2.0, 10)(epoch) for epoch in (0, 9)] == [0, 0]
    assert Constant(2.0)(0) == Linear(2.0, 0)(0) == Sigmoid(2.0, 0)(0) == Step(2.0, 0)(0) == 2.0


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"weight": float("inf")}, {"length": -1}])
def test_impossible_ramps_are_refused(options):
    with pytest.raises(UserError, match=r"Linear\.(weight|length)="):
        Linear(**options)


def test_a_term_whose_ramp_starts_at_0_is_there_in_every_epoch():
    loss = MCL(widths=[[4], [4]], weights={"distillation": Linear(length=2)}, dim=3)
    outputs = [Outputs([torch.randn(6, 4)], [torch.randn(6, 3)]) for _ in range(2)]
    batch = Batch(torch.empty(0), torch.tensor([0, 1, 2] * 2), torch.arange(6))
    names = []
    for epoch in range(2):
        loss.set_epoch(epoch)
        names.append(list(loss(outputs, batch)))
    assert loss.weights["distillation"] == 0.5
    assert "distillation" in names[0]
    assert names[0] == names[1]
