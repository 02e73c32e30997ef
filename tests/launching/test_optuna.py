"""A search over the loss weights: it maximizes validation accuracy and resumes after a kill."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
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
    pytest.importorskip("optuna")


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


def assert_continues(command: Command, search: list[str]) -> dict[Path, int]:
    """Repeat the search that was stopped in ``runs=stopped``; it runs no trial twice, and four in all."""
    before = {file: file.stat().st_mtime_ns for file in Path("stopped").rglob("summary.json")}
    assert 2 <= len(before) < 4
    begun = {*Path("stopped").glob("*/*/*/*/config.yaml")}
    assert command(*search, "runs=stopped").status == 0
    assert all(file.stat().st_mtime_ns == when for file, when in before.items())
    assert len(trials("stopped")) == 4
    assert begun <= {*Path("stopped").glob("*/*/*/*/config.yaml")}
    assert {file.parent / "summary.json" for file in begun} <= {*Path("stopped").rglob("summary.json")}
    return before


def assert_equals_undisturbed(command: Command, search: list[str]) -> None:
    assert command(*search, "runs=undisturbed").status == 0
    undisturbed = trials("undisturbed")
    assert trials("stopped") == undisturbed
    assert best("stopped") == best("undisturbed")
    assert best("stopped")["best_value"] == max(undisturbed.values())


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
    assert_continues(command, search)
    assert_equals_undisturbed(command, search)


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "jobs"), [("basic", 1), ("gpus", 2)])
def test_killed_search_continues(launcher: str, jobs: int, command: Command) -> None:
    search = [*SEARCH, f"hydra/launcher={launcher}", f"hydra.sweeper.n_jobs={jobs}"]
    started = [sys.executable, str(ROOT / "train.py"), *search, "runs=stopped"]
    with subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(trials("stopped")) >= 2)
        process.kill()
    assert_continues(command, search)
    if jobs == 1:  # else the proposals depend on which job ends first
        assert_equals_undisturbed(command, search)


@pytest.mark.slow
def test_search_over_processes_prunes_and_never_shows_a_network_the_test_images(command: Command) -> None:
    search = ["hydra/launcher=gpus", "hydra/sweeper/pruner=asha", "hydra/sweeper/sampler=random"]
    job = [
        "dataset=synthetic",
        "dataset.image_size=8",
        "dataset.validation=0.2",
        "loss=independent",
        "trainer.epochs=4",
    ]
    lr = "optimizer.lr=tag(log,interval(0.00001,0.1))"
    done = command("-m", "hydra/sweeper=optuna", *search, "hydra.sweeper.n_trials=8", *job, "trainer.device=cpu", lr)
    assert done.status == 0, done.err
    failures = [yaml.safe_load(file.read_text()) for file in Path("runs").rglob("failure.json")]
    assert failures
    assert {failure["status"] for failure in failures} == {"pruned"}
    assert len(failures) + len(trials("runs")) == 8
    assert f"{len(failures)} pruned" in done.out
    assert not any('"test/' in file.read_text() for file in Path("runs").rglob("metrics.jsonl"))


def test_search_of_ranges_that_were_typed(command: Command) -> None:
    sweeper = ("hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler.seed=3")
    job = (*SMALL, "trainer.max_steps=1", "loss=independent", "dataset.validation=0.4")
    done = command("-m", "hydra/sweeper=optuna", *sweeper, *job, "optimizer.lr=tag(log,interval(0.01,0.1))")
    assert done.status == 0, done.err
    assert len(trials("runs")) == 2
    assert 0.01 <= best("runs")["best_params"]["optimizer.lr"] <= 0.1


def test_two_objectives_give_the_trade_offs(command: Command) -> None:
    sweeper = ("hydra/sweeper/sampler=grid", "hydra.sweeper.direction=[maximize,minimize]")
    job = (*SMALL, "trainer.max_steps=1", "loss=independent", "dataset.validation=0.4")
    objective = "objective=[validation/top1_last,multiply_adds]"
    done = command("-m", "hydra/sweeper=optuna", *sweeper, *job, objective, "network@pair.first=resnet8,resnet14")
    assert done.status == 0, done.err
    assert "search-" in done.out
    assert "2 trials: 2 finished" in done.out
    assert best("runs")["solutions"]
    assert all(len(solution["values"]) == 2 for solution in best("runs")["solutions"])


def test_fail_fast_ends_a_search_with_the_failure(command: Command) -> None:
    sweeper = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.max_failure_rate=1.0"]
    launcher = ["hydra/launcher=gpus", "hydra.launcher.devices=cpu", "hydra.launcher.per_gpu=1"]
    job = [*SMALL, "loss=independent", "dataset.validation=0.4", "trainer.batch_size=1000,1001"]
    done = command("-m", *sweeper, *launcher, "hydra.launcher.fail_fast=true", *job)
    assert done.status == 1
    assert "1 of 1 jobs failed: trainer.batch_size=100" in done.err
    assert len(list(Path("runs").rglob("job.log"))) == 1


def test_finished_runs_are_a_warm_start(command: Command) -> None:
    job = [*SMALL, "trainer.max_steps=1", "loss=independent", "dataset.validation=0.4", "seed=0"]
    assert command(*job, "optimizer.lr=0.05").status == 0
    assert command(*job, "optimizer.lr=0.5").status == 0  # not in the range
    search = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "hydra.sweeper.warm_start=runs", *job]
    smoothing = "trainer.label_smoothing=interval(0.0,0.3)"  # 0 in the run; the identity leaves this out
    done = command(*search, "runs=found", "optimizer.lr=interval(0.01,0.1)", smoothing)
    assert done.status == 0, done.err
    assert "warm start: 1 finished run of runs" in done.out
    assert "2 trials: 2 finished" in done.out
    assert len(trials("found")) == 1


def test_second_search_in_the_same_journal_is_refused(command: Command) -> None:
    job = [*SMALL, "trainer.max_steps=1", "loss=independent", "dataset.validation=0.4", "optimizer.lr=0.1,0.2"]
    search = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "hydra.sweeper.study_name=s", *job]
    with FileLock("a.journal.s.lock"):
        done = command(*search, "hydra.sweeper.storage=a.journal")
    assert done.status == 1
    assert "hydra.sweeper.storage=a.journal: another process runs this search there." in done.err
    assert command(*search, "hydra.sweeper.storage=a.journal").status == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=0.1"], "a search varies nothing"),
        (["optimizer.lr=interval(1,0.1)"], "optimizer.lr=interval(1,0.1)"),
        (["optimizer.lr=interval(0.1,1)", "hydra/sweeper/sampler=grid"], "a grid needs choices"),
        (["optimizer.lr=0.1,1", "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0"),
        (["optimizer.lr=0.1,1", "hydra.sweeper.pruner=asha"], "hydra/sweeper/pruner=asha"),
        (["optimizer.lr=0.1,1", "hydra/sweeper/pruner=asha", "hydra.sweeper.pruner.min_resource=-1"], "min_resource"),
        (["optimizer.lr=0.1,1", "hydra.sweeper.storage=nosql://me:pw@x"], "hydra.sweeper.storage=nosql://me:***@x"),
        (["optimizer.lr=0.1,1", "hydra.sweeper.warm_start=nowhere"], "nowhere"),
        (["optimizer.lr=0.1,1", "optimizer.mometum=0.5"], "optimizer.mometum"),
    ],
)
def test_search_that_cannot_work_ends_in_one_line(overrides: list[str], message: str, command: Command) -> None:
    done = command("-m", "hydra/sweeper=optuna", *SMALL, "dataset.validation=0.4", *overrides)
    assert done.status == 1
    assert done.err.count("error:") == 1
    assert message in done.err
    assert not list(Path().rglob("config.yaml"))
