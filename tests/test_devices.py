"""Devices and precision: the given device is used, and float32 stays float32 on any hardware."""

from types import SimpleNamespace

import pytest
import torch

from mcl.devices import default_precision, find_device, use_tf32
from mcl.errors import UserError


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fake a machine with four GPUs; the list collects the numbers that become the current device."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_processes_of_a_machine_use_different_gpus(
    name: str, four_gpus: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_device(name) == torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "8")
    for number in range(4):
        monkeypatch.setenv("LOCAL_RANK", str(number))
        assert find_device(name) == torch.device("cuda", number)
    assert four_gpus == [0, 1, 2, 3]
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(UserError, match=r"process 5 of this machine finds 4 GPUs.*--nproc_per_node=4"):
        find_device(name)


def test_several_processes_do_not_share_one_gpu(four_gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("cuda:3") == torch.device("cuda", 3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"trainer.device=cuda:3: each of several processes .*trainer.device=cuda\."):
        find_device("cuda:3")
    assert find_device("cpu") == torch.device("cpu")


def test_default_precision_is_that_of_the_given_device(four_gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    generations = [(7, 5), (8, 0), (9, 0), (6, 1)]
    properties = [SimpleNamespace(major=major, minor=minor) for major, minor in generations]
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device=None: properties[torch.device(device or 0).index or 0]
    )
    precisions = [default_precision(name) for name in ("cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:3", "cpu")]
    assert precisions == ["float32", "float32", "bfloat16", "bfloat16", "float32", "float32"]


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("bfloat16", True)])
def test_float32_means_float32_on_every_device(precision: str, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not allowed)
    use_tf32(precision)
    assert torch.backends.cudnn.allow_tf32 == allowed
