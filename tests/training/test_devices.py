"""Which device and which precision: what was asked for, whatever the hardware would rather do."""

import pytest
import torch

from mcl.errors import UserError
from mcl.training.devices import find_device, use_tf32


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As on a machine with four; the number of each that becomes the current one."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_every_process_of_a_machine_takes_a_gpu_of_its_own(
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
    with pytest.raises(UserError, match=r"trainer.device=cuda:3: several processes .*trainer.device=cuda\."):
        find_device("cuda:3")
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("bfloat16", True)])
def test_float32_means_float32_on_every_device(precision: str, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not allowed)
    use_tf32(precision)
    assert torch.backends.cudnn.allow_tf32 == allowed
