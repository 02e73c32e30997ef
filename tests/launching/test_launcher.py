"""``python train.py -m hydra/launcher=gpus`` with real runs."""

import contextlib
import inspect
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.small_jobs import wait_until
from support.small_runs import SMALL

import train
from mcl.config.launch import launch

ROOT = Path(__file__).parents[2]
Command = Callable[..., Any]
SWEEP = ["-m", "hydra/launcher=gpus", "hydra.launcher.devices=cpu", "hydra.launcher.per_gpu=2", *SMALL]
SWEEP += ["loss=independent", "trainer.device=cpu"]


def test_multirun_runs_unfinished_jobs_and_names_failed_ones(warm: None, command: Command) -> None:
    sweep = [*SWEEP, "trainer.max_steps=2", "trainer.batch_size=7,1000", "resume=auto"]
    done = command(*sweep)
    assert done.status == 1
    assert "1 of 2 jobs failed: trainer.batch_size=1000 (exit 1: 32 training images do not fill" in done.err
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err
    (summary,) = Path("runs").rglob("summary.json")
    log = (summary.parent / "job.log").read_text()
    assert "test accuracy, %" in log
    assert f"hydra.run.dir={summary.parent}" in log.splitlines()[0]
    failed = [log.parent for log in Path("runs").rglob("job.log") if log.parent != summary.parent]
    assert [sorted(file.name for file in folder.iterdir()) for folder in failed] == [["job.log"]], "evidence stays"

    again = command(*sweep)
    assert again.status == 1
    assert "2 jobs, 1 of them done before" in again.out
    assert (summary.parent / "job.log").read_text() == log
    alone = command(*SMALL, "loss=independent", "trainer.max_steps=2", "trainer.device=cpu")
    assert alone.status == 0
    assert "step 2/2" not in alone.out, "typed alone it finds its result, too"


def test_return_values_of_runs_are_returned(warm: None, command: Command) -> None:
    job = [*SMALL, "loss=independent", "trainer.max_steps=1", "dataset.validation=0.25", "trainer.device=cpu"]
    how = ["hydra/launcher=gpus", "hydra.launcher.devices=cpu"]
    (first,) = launch(inspect.unwrap(train.train), [job], how)
    (again,) = launch(inspect.unwrap(train.train), [job], how)
    (summary,) = Path("runs").rglob("summary.json")
    networks = json.loads(summary.read_text())["networks"]
    expected = sum(network["validation_top1_last"] for network in networks) / len(networks)
    assert first.return_value == again.return_value == expected
    assert first.working_dir == str(Path.cwd())


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_runs_of_a_killed_launcher_resume_from_their_checkpoints(processes: int, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), *SWEEP, "trainer.epochs=100", "seed=0,1", "trainer.log_every=1"]
    command += [f"hydra.launcher.devices_per_job={processes}", "trainer.batch_size=8"]

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    launcher = start()
    wait_until(lambda: len(list(tmp_path.rglob("last.pt"))) == 2, seconds=120)
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not of_folder(tmp_path), seconds=60)
    assert len(list(tmp_path.rglob("failure.json"))) == 2
    launcher = start()
    out, _ = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, out
    for log in tmp_path.rglob("job.log"):
        assert log.read_text().count("resuming from step") == 1
    assert not of_folder(tmp_path)


@pytest.mark.slow
def test_ctrl_c_lets_runs_save(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), *SWEEP, "trainer.epochs=4000", "seed=0,1,2"]
    launcher = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: len(list(tmp_path.rglob("last.pt"))) == 2, seconds=120)
    launcher.send_signal(signal.SIGINT)
    out, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    assert "3 jobs: 2 stopped, 1 not started" in out
    assert [json.loads(file.read_text())["message"] for file in tmp_path.rglob("failure.json")] == [
        "stopped by SIGTERM"
    ] * 2
    assert not of_folder(tmp_path)


def of_folder(folder: Path) -> list[str]:
    """Return the processes that run in a folder."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            zombie = "\nState:\tZ" in (process / "status").read_text()
            if (process / "cwd").resolve() == folder.resolve() and not zombie:
                processes.append((process / "cmdline").read_text().replace("\0", " "))
    return processes
