"""Runs as Slurm jobs: submission and results."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.fake_slurm import FakeSlurm, wait_until
from support.small_runs import SMALL

Command = Callable[..., Any]
SWEEP = ("-m", "hydra/launcher=slurm", *SMALL, "trainer.max_steps=2", "trainer.device=cpu", "loss=independent")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    submitit = pytest.importorskip("submitit")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    job = submitit.slurm.slurm.SlurmJob
    job.watcher.clear()  # job numbers begin anew
    monkeypatch.setattr(job.watcher, "_delay_s", 1)
    monkeypatch.setattr(job, "_results_timeout_s", 1)
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


def directives(script: str) -> dict[str, str]:
    lines = (line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH"))
    return dict(line.partition("=")[::2] for line in lines)


def wandb_files() -> list[Path]:
    return sorted(Path("runs").rglob("offline-run-*/*.wandb"))


def summaries() -> list[Path]:
    return sorted(Path("runs").rglob("summary.json"))


def test_multirun_is_one_job_array(command: Command, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SLURM_FULL", "1")  # accepts no job
    options = ("hydra.launcher.partition=gpu", "hydra.launcher.array_parallelism=2", "hydra.launcher.account=mine")
    further = "+hydra.launcher.additional_parameters.reservation=ours"
    done = command(*SWEEP, "seed=0,1,2", *options, further)
    script_options = directives(slurm.script())
    assert script_options["array"] == "0-2%2"
    assert (script_options["partition"], script_options["account"], script_options["reservation"]) == (
        "gpu",
        "mine",
        "ours",
    )
    assert script_options["gpus-per-node"] == "1"
    assert script_options["cpus-per-task"] == "8"
    assert script_options["mem"] == "32GB"
    assert script_options["time"] == "240"
    assert script_options["signal"] == "USR2@120"
    assert script_options["open-mode"] == "append"
    assert script_options["requeue"] == ""
    assert script_options["output"].startswith(str(Path("runs/slurm").absolute()))
    assert done.status == 1
    assert "no such partition" in done.err
    assert "Traceback" not in done.err


def test_missing_slurm_or_plugin_is_reported_in_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.config_store import ConfigStore

    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.setenv("PATH", "")
    done = command(*SWEEP)
    assert (done.status, done.err.strip().splitlines()[-1]) == (
        1,
        "error: hydra/launcher=slurm: srun is not on PATH. Use a login node, or hydra/launcher=gpus.",
    )
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "submitit_slurm.yaml")
    done = command(*SWEEP)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "pip install 'hydra-submitit-launcher>=1.2,<2'" in done.err


@pytest.mark.slow
def test_jobs_finish_and_failed_job_is_reported(
    command: Command, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = command(*SWEEP, "optimizer.lr=1e30,0.1")
    assert done.status == 1
    assert "Try a smaller optimizer.lr" in done.err
    wait_until(lambda: slurm.states == {"1_0": "COMPLETED", "1_1": "COMPLETED"})  # the jobs have: one run has not
    (finished,) = summaries()
    (_failed,) = Path("runs").rglob("failure.json")
    groups = [re.findall("dataset=synthetic .*… [0-9a-f]{8}".encode(), file.read_bytes()) for file in wandb_files()]
    assert len(groups) == 2
    assert groups[0][:1] == groups[1][:1] != []  # W&B knows that they are of one sweep
    before = finished.stat().st_mtime_ns
    assert command(*SWEEP, "optimizer.lr=0.1,0.05").status == 0
    assert len(summaries()) == 2
    assert finished.stat().st_mtime_ns == before


@pytest.mark.slow
def test_run_near_its_time_limit_is_requeued_and_killed_run_is_not(command: Command, slurm: FakeSlurm) -> None:
    sweep = (*SWEEP, "trainer.max_steps=150", "trainer.epochs=100", "trainer.log_every=1", "dataset.train_per_class=70")

    def send(job: str, seed: int, number: signal.Signals) -> None:
        def trains() -> bool:
            begun = [file.parent for file in Path("runs").rglob("metrics.jsonl") if "train/total" in file.read_text()]
            return any(f"\nseed: {seed}\n" in (folder / "config.yaml").read_text() for folder in begun)

        wait_until(trains)
        slurm.kill(job, number)

    senders = [
        Thread(target=send, args=("10", 0, signal.SIGUSR2)),
        Thread(target=send, args=("11", 1, signal.SIGKILL)),
    ]
    for sender in senders:
        sender.start()
    done = command(*sweep, "seed=0,1")
    for sender in senders:
        sender.join()
    assert done.status == 1
    assert "1_1" in done.err
    assert "FAILED" in done.err
    assert "Traceback" not in done.err
    assert slurm.requeues == ["10"]
    assert "resuming from step" in Path("runs/slurm/1_0/1_0_0_log.out").read_text()
    wait_until(lambda: slurm.states == {"1_0": "COMPLETED", "1_1": "FAILED"})
    (finished,) = summaries()
    steps = [json.loads(line)["step"] for line in (finished.parent / "metrics.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == list(range(1, 151))
    assert not (finished.parent / "failure.json").exists()
    assert command(*sweep, "seed=0,1").status == 0
    assert len(summaries()) == 2
