"""A run that a pruner ends: its status, what it saved, and that it can be resumed as if it had never ended."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.small_runs import Outcome

from mcl.runs.reading import read_run
from mcl.runs.summary import was_pruned
from mcl.training.run import Run

Small = Callable[..., Any]


@pytest.fixture
def pruned_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[tuple[int, dict[str, float]]]]:
    """``pruned_after(1)``: let a pruner end the runs of this test after epoch 1; returns what it was told."""
    fit = Run.fit

    def arrange(last: int) -> list[tuple[int, dict[str, float]]]:
        told: list[tuple[int, dict[str, float]]] = []

        def pruner(epoch: int, metrics: Mapping[str, float]) -> bool:
            told.append((epoch, dict(metrics)))
            return epoch >= last

        monkeypatch.setattr(Run, "fit", lambda run, parts, splits, _: fit(run, parts, splits, pruner))
        return told

    return arrange


def test_pruned_run_has_a_status_of_its_own_and_no_summary(
    small: Small, pruned_after: Callable[[int], list[tuple[int, dict[str, float]]]]
) -> None:
    told = pruned_after(1)
    done = small("run")
    assert done.status == 0, done.err
    assert "pruned at step 5 of 10" in done.out
    assert [epoch for epoch, _ in told] == [1]
    assert "test/first/backbone/top1" in told[0][1]
    assert not Path("run/summary.json").exists()
    failure = json.loads(Path("run/failure.json").read_text())
    assert failure["status"] == "pruned"
    assert failure["message"].startswith("pruned after epoch 1 of 2")
    run = read_run(Path("run"))
    assert (run.status, run.finished, run.reason) == ("pruned", False, "1 of 2 epochs evaluated")
    assert was_pruned(Path("run"))


def test_pruned_run_resumes_bit_for_bit(
    small: Small, undisturbed: Outcome, pruned_after: Callable[[int], list[tuple[int, dict[str, float]]]]
) -> None:
    pruned_after(1)
    assert small("run").status == 0
    pruned_after(3)
    again = small("run")
    assert again.status == 0, again.err
    assert Outcome("run").equals(undisturbed)
    assert not was_pruned(Path("run"))


def test_last_evaluation_is_not_asked_about(
    small: Small, pruned_after: Callable[[int], list[tuple[int, dict[str, float]]]]
) -> None:
    told = pruned_after(2)
    assert small("run").status == 0
    assert [epoch for epoch, _ in told] == [1]
    assert Path("run/summary.json").exists()


def test_wrong_trial_is_found_before_training(small: Small) -> None:
    done = small("run", "trial=3")
    assert done.status == 1
    assert done.err.count("error:") == 1
    assert "trial=3: a search sets this option" in done.err
