"""Ramps of loss weights."""

import pytest

from mcl.errors import UserError
from mcl.losses.ramps import Constant, Linear, Sigmoid, Step, sigmoid_ramp


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
