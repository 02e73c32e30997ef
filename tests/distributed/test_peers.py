"""Two processes train peers on a shared trunk, with views, averaged teachers and pauses, as one process does."""

from pathlib import Path

import pytest
import torch
from distributed.test_process_group import SCRIPT, torchrun


def test_two_processes_train_peers_as_one_does(device: str, warm: None, tmp_path: Path) -> None:
    for processes in (1, 2):
        ended = torchrun(processes, str(SCRIPT), f"{processes}.pt", "peers", device, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
    one, two = (torch.load(tmp_path / f"{processes}.pt") for processes in (1, 2))
    assert one["losses"] == [pytest.approx(step, rel=1e-9) for step in two["losses"]]
    assert any(name.startswith("average.") for name in one["state"])
    for name, tensor in one["state"].items():
        torch.testing.assert_close(two["state"][name], tensor, rtol=1e-9, atol=1e-11, msg=name)
    assert all(len(hashes) == 2 and len(set(hashes)) == 1 for hashes in two["hashes"])
