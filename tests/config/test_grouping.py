import os

import pytest

from mcl.config.grouping import GROUP, current_group, grouped, sweep_name


@pytest.fixture(autouse=True)
def _no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GROUP, raising=False)


def test_single_run_has_no_group() -> None:
    assert sweep_name(["loss=mcl", "seed=1"]) is None
    with grouped(None):
        assert current_group() is None


def test_multirun_group_is_its_command_line_and_stable() -> None:
    assert sweep_name(["-m", "loss=mcl,lmcl", "seed=0,1", "hydra/launcher=gpus"]) == "loss=mcl,lmcl seed=0,1"
    long = [["-m", f"loss.weights.vcl={value}", "seed=" + "1," * 100] for value in (1, 2)]
    assert sweep_name(long[0]) == sweep_name(long[0]) != sweep_name(long[1])
    assert len(sweep_name(long[0]) or "") <= 80


def test_processes_started_inside_inherit_the_outermost_group() -> None:
    with grouped("study"), grouped("sweep"):
        assert os.environ[GROUP] == "study"
    assert GROUP not in os.environ
