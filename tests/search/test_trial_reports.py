"""Pruning in the process of a run: it reports to the storage and learns whether to go on."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from mcl.errors import UserError
from mcl.search.storage import build, open_storage
from mcl.search.trial_reports import PRUNED_AFTER, PRUNER, TrialPruner

ROOT = Path(__file__).parents[2]
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 1}


@pytest.fixture
def study(tmp_path: Path) -> Any:
    study = optuna.create_study(study_name="s", storage=open_storage(str(tmp_path / "a.journal")), direction="maximize")
    study.set_user_attr(PRUNER, MEDIAN)
    return study


def pruner_of(trial: Any, folder: Path, objective: str = "validation/top1_last") -> TrialPruner:
    node = {"storage": "a.journal", "study": "s", "number": trial.number}
    return TrialPruner(node, objective, ["first", "second"], str(folder))


def metrics(value: float) -> dict[str, float]:
    return {
        "validation/first/backbone/top1": value + 1,
        "validation/second/backbone/top1": value - 1,
        "test/first/backbone/top1": 0.0,
    }


def test_trial_below_the_median_ends_and_the_parent_learns_after_which_epoch(study: Any, tmp_path: Path) -> None:
    good = study.ask()
    for epoch in (1, 2):
        assert not pruner_of(good, tmp_path)(epoch, metrics(80.0))
    study.tell(good, 80.0)
    bad = study.ask()
    prune = pruner_of(bad, tmp_path)
    assert not prune(1, metrics(85.0))
    assert not prune(2, metrics(85.0))
    worse = study.ask()
    assert pruner_of(worse, tmp_path)(1, metrics(10.0))
    stored = study.trials[worse.number]
    assert stored.intermediate_values == {1: 10.0}
    assert stored.user_attrs[PRUNED_AFTER] == 1


def test_trial_that_has_ended_is_not_pruned_again(study: Any, tmp_path: Path) -> None:
    good, bad = study.ask(), study.ask()
    pruner_of(good, tmp_path)(1, metrics(80.0))
    study.tell(good, 80.0)
    assert pruner_of(bad, tmp_path)(1, metrics(10.0))
    study.tell(bad.number, state=optuna.trial.TrialState.PRUNED)
    assert not pruner_of(bad, tmp_path)(2, metrics(10.0))


def test_best_accuracy_so_far_counts_if_it_is_the_objective(study: Any, tmp_path: Path) -> None:
    trial = study.ask()
    pruner_of(trial, tmp_path, "validation/top1_best")(1, metrics(60.0))
    pruner_of(trial, tmp_path, "validation/top1_best")(2, metrics(40.0))  # in a resumed run
    assert study.trials[0].intermediate_values == {1: 60.0, 2: 60.0}


def test_run_goes_on_if_the_storage_does_not_answer(study: Any, tmp_path: Path, caplog: Any) -> None:
    prune = pruner_of(study.ask(), tmp_path)
    prune._trial.storage._backend._file_path = str(tmp_path / "gone" / "a.journal")
    assert not prune(1, metrics(10.0))
    assert "The search does not answer" in caplog.text


@pytest.mark.parametrize("trial", [3, {"storage": "a"}, {"storage": "none", "study": "s", "number": 0}])
def test_wrong_trial_is_one_sentence(trial: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Leave"):
        TrialPruner(trial, "validation/top1_last", ["first"], str(tmp_path))


def test_trial_that_does_not_exist_is_one_sentence(study: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such trial"):
        TrialPruner(
            {"storage": "a.journal", "study": "s", "number": 5}, "validation/top1_last", ["first"], str(tmp_path)
        )


def test_lock_that_a_killed_process_left_does_not_block(study: Any, tmp_path: Path) -> None:
    journal = tmp_path / "a.journal"
    hold = "import sys, time\nfrom filelock import FileLock\n"
    hold += "FileLock(sys.argv[1]).acquire()\nprint('held', flush=True)\ntime.sleep(600)"
    command = [sys.executable, "-c", hold, f"{journal}.lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
    before = time.monotonic()
    study.ask()
    assert time.monotonic() - before < 10


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("asha", "hydra/sweeper/pruner=asha"),
        ({"_target_": "os.system"}, "expected a class of optuna.pruners"),
        ({**MEDIAN, "n_warmup": 1}, "does not accept"),
    ],
)
def test_wrong_pruner_is_one_sentence(node: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(node, "pruner")
