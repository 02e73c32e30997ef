"""Peak memory of training over all attempts of a run."""

import pytest
import torch
from support.small_runs import Outcome

from mcl.runs.summary import read_summary
from mcl.training import highest_memory
from mcl.training.highest_memory import HighestMemory

CPU = torch.device("cpu")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The peak that the device reports, under ``"now"``."""
    answer = {"now": 0}
    monkeypatch.setattr(highest_memory, "reset_peak_memory", lambda device: True)
    monkeypatch.setattr(highest_memory, "peak_memory", lambda device: answer["now"])
    return answer


def test_highest_peak_of_all_attempts_counts(measured: dict[str, int]) -> None:
    first = HighestMemory()
    first.start(CPU)
    measured["now"] = 300
    saved = {"peak_memory": first.read()}
    second = HighestMemory()
    second.load(saved)
    second.start(CPU)
    measured["now"] = 200
    assert second.read() == {"process": 300}
    measured["now"] = 400
    assert second.read() == {"process": 400}


def test_memory_of_a_gpu_and_of_a_process_are_apart(measured: dict[str, int]) -> None:
    resumed = HighestMemory()
    resumed.load({"peak_memory": {"gpu": 700}})
    resumed.start(CPU)
    measured["now"] = 200
    assert resumed.read() == {"gpu": 700, "process": 200}
    resumed.start(torch.device("cuda"))
    measured["now"] = 800
    assert resumed.read() == {"gpu": 800, "process": 200}


def test_nothing_is_kept_where_the_peak_may_be_that_of_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(highest_memory, "reset_peak_memory", lambda device: False)
    memory = HighestMemory()
    memory.start(CPU)
    assert memory.read() == {}


def test_checkpoints_of_older_code_have_none() -> None:
    memory = HighestMemory()
    memory.load({})
    assert memory.read() == {}


def test_summary_has_the_peak_of_a_run(undisturbed: Outcome) -> None:
    peak = read_summary(undisturbed.folder)["peak_memory"]  # type: ignore[index]
    assert list(peak) == ["process"]
    assert 1e8 < peak["process"] < 1e11
