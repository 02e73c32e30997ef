"""A search over the loss weights: it maximises validation accuracy and resumes after a kill."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.fake_slurm import wait_until
from support.small_runs import SMALL

from mcl.config import objective

ROOT = Path(__file__).parents[2]
Command = Callable[..., Any]
SEARCH = [
    *("-m", "hydra/sweeper=loss_weights", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.n_startup_trials=1"),
    *(
        *SMALL,
        "trainer.device=cpu",
        "trainer.max_steps=2",
        "loss.dim=16",
        "loss/matching=one",
        "dataset.validation=0.4",
    ),
]


@pytest.fixture(autouse=True)
def _plugin() -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")


def trials(runs: str) -> dict[str, float]:
    """Return the objective of each trial by run folder."""
    values = {}
    for file in Path(runs).rglob("summary.json"):
        reached = objective.value(yaml.safe_load(file.read_text()), "validation/top1_last")
        assert reached is not None
        values[file.parent.name] = reached
    return values


def best(runs: str) -> dict[str, Any]:
    return yaml.safe_load((Path(runs) / "optimization_results.yaml").read_text())


def assert_resumes_like_uninterrupted(command: Command, search: list[str]) -> None:
    """Repeat the search that was stopped in ``runs=stopped``; its trials equal those of an uninterrupted one."""
    before = {file: file.stat().st_mtime_ns for file in Path("stopped").rglob("summary.json")}
    assert 2 <= len(before) < 4
    assert command(*search, "runs=stopped").status == 0
    assert command(*search, "runs=undisturbed").status == 0
    undisturbed = trials("undisturbed")
    assert len(undisturbed) == 4
    assert trials("stopped") == undisturbed
    assert best("stopped") == best("undisturbed")
    assert best("stopped")["best_value"] == max(undisturbed.values())
    assert all(file.stat().st_mtime_ns == when for file, when in before.items())


def test_stopped_search_resumes_with_the_same_trials(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcl.training.run import Run

    fit, begun = Run.fit, []

    def third_is_interrupted(run: Run, *arguments: Any) -> None:
        begun.append(run)
        if len(begun) == 3:
            raise KeyboardInterrupt
        fit(run, *arguments)

    search = [*SEARCH, "hydra.sweeper.n_jobs=1"]
    monkeypatch.setattr(Run, "fit", third_is_interrupted)
    assert command(*search, "runs=stopped").status == 130
    assert_resumes_like_uninterrupted(command, search)


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "jobs"), [("basic", 1), ("gpus", 2)])
def test_killed_search_resumes_with_the_same_trials(launcher: str, jobs: int, command: Command) -> None:
    search = [*SEARCH, f"hydra/launcher={launcher}", f"hydra.sweeper.n_jobs={jobs}"]
    started = [sys.executable, str(ROOT / "train.py"), *search, "runs=stopped"]
    with subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(trials("stopped")) >= 2)
        process.kill()
    assert_resumes_like_uninterrupted(command, search)


def test_plugins_own_node_works(command: Command) -> None:
    sweeper = ("hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler.seed=3")
    job = (*SMALL, "trainer.max_steps=1", "loss=independent", "dataset.validation=0.4")
    done = command("-m", "hydra/sweeper=optuna", *sweeper, *job, "optimizer.lr=tag(log,interval(0.01,0.1))")
    assert done.status == 0, done.err
    assert len(trials("runs")) == 2
    assert 0.01 <= best("runs")["best_params"]["optimizer.lr"] <= 0.1
