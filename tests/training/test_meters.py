"""Averages on the device, and the detection of values that are not finite."""

import pytest
import torch
from torch import Tensor

from mcl import distributed
from mcl.errors import UserError
from mcl.training.meters import Meters, NonFiniteLoss


def scalars(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_reading_returns_averages_and_resets() -> None:
    meters = Meters()
    for step, value in enumerate((1.0, 2.0, 6.0)):
        meters.update(scalars(a=value, b=-value), step)
    assert meters.read() == {"a": 3.0, "b": -3.0}
    assert meters.read() == {}
    meters.update(scalars(a=5.0, b=0.0), 3)
    assert meters.read() == {"a": 5.0, "b": 0.0}


def test_first_non_finite_step_is_named_with_its_values() -> None:
    meters = Meters()
    meters.update(scalars(a=1.0, b=2.0), 10)
    meters.update(scalars(a=float("nan"), b=7.0), 11)
    meters.update(scalars(a=float("inf"), b=8.0), 12)
    with pytest.raises(NonFiniteLoss, match=r"step 11: a=nan; finite: b=7\. Nothing"):
        meters.read()


def test_names_are_the_same_in_every_step_in_any_order() -> None:
    meters = Meters()
    meters.update(scalars(a=1.0, b=2.0), 0)
    meters.update(scalars(b=4.0, a=3.0), 1)
    with pytest.raises(UserError, match="step 2 has other values than those before: b, c"):
        meters.update(scalars(a=1.0, c=2.0), 2)
    assert meters.read() == {"a": 2.0, "b": 3.0}


def test_only_first_non_finite_values_are_named() -> None:
    meters = Meters()
    meters.update(scalars(**{f"x{i}": float("nan") for i in range(9)}), 0)
    with pytest.raises(NonFiniteLoss, match=r"x0=nan, x1=nan, x2=nan, x3=nan and 5 more; finite: none\."):
        meters.read()


def test_update_does_not_synchronize_with_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the host looked at a value")

    meters = Meters()
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, forbidden)
    for step in range(3):
        meters.update(scalars(a=1.0), step)
    monkeypatch.undo()
    assert meters.read() == {"a": 1.0}


def test_update_keeps_no_graph() -> None:
    meters = Meters()
    value = torch.tensor(1.0, requires_grad=True) * 2
    meters.update({"a": value}, 0)
    assert meters._sums is not None
    assert not meters._sums.requires_grad


@pytest.fixture
def as_one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate two processes; the other one has sums three times as large."""
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce_mean", lambda tensors: [2 * tensor for tensor in tensors])
    monkeypatch.setattr(distributed, "gather", lambda tensor: torch.cat([tensor, 3 * tensor]))


def read_after_checkpoint(saved_after: int | None, *, resumed: bool = False) -> dict[str, float]:
    meters = Meters()
    for step in range(5):
        meters.update(scalars(a=0.1 * step + 0.3), step)
        if step == saved_after:
            state = meters.state_dict()
            if resumed:
                meters = Meters()
                meters.load_state_dict(state, torch.device("cpu"))
    return meters.read()


@pytest.mark.usefixtures("as_one_of_two")
@pytest.mark.parametrize("resumed", [False, True], ids=["going on", "resumed"])
def test_averages_of_several_processes_do_not_depend_on_checkpoints(resumed: bool) -> None:
    assert read_after_checkpoint(2, resumed=resumed) == read_after_checkpoint(None)


@pytest.mark.usefixtures("as_one_of_two")
@pytest.mark.parametrize("older", [False, True])
def test_mean_continues_with_another_number_of_processes(older: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    meters = Meters()
    meters.update(scalars(a=1.0, b=2.0), 0)
    state = meters.state_dict()
    if older:
        state["sums"] = torch.tensor([2.0, 4.0])
    monkeypatch.undo()
    for other in (meters, Meters()):
        other.load_state_dict(state, torch.device("cpu"))
        assert other.read() == {"a": 2.0, "b": 4.0}
