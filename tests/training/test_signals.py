"""Reactions of a process to stop signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcl.training.signals import Stopped, StopSignals

ROOT = Path(__file__).resolve().parents[2]


def test_first_signal_stops_at_the_next_check() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        signals.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match="SIGTERM") as stopped:
            signals.check()
        assert stopped.value.code == 75
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "the second ends the process"
    assert signal.getsignal(signal.SIGTERM) is before


def test_second_ctrl_c_stops_at_once() -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signal_closes_trackers_and_is_recorded_in_the_folder(
    small: Callable[..., Any], during_step: Callable[..., None]
) -> None:
    during_step(6, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    done = small("run")
    assert done.status == 75
    failure = json.loads(Path("run/failure.json").read_text())
    assert (failure["status"], failure["message"]) == ("interrupted", "stopped by SIGUSR1")
    assert "run the same command again" in done.out
    assert not Path("run/lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_process_exits_with_the_documented_status(number: int, status: int, tmp_path: Path) -> None:
    process = train(tmp_path)
    wait_for(tmp_path / "run" / "metrics.jsonl")
    process.send_signal(number)
    assert process.wait(60) == status
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


@pytest.mark.slow
def test_second_signal_ends_a_process_that_hangs(tmp_path: Path) -> None:
    code = (
        "import signal, time, sys\nfrom mcl.training.signals import StopSignals\n"
        "with StopSignals():\n    print('ready', flush=True)\n    while True: time.sleep(1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM


def train(folder: Path, *overrides: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(ROOT / "train.py"), "trainer.epochs=200", "trainer.log_every=1"]
    return subprocess.Popen(
        [*command, f"hydra.run.dir={folder / 'run'}", *overrides], cwd=folder, stdout=subprocess.DEVNULL
    )


def wait_for(file: Path) -> None:
    for _ in range(600):
        if file.exists() and file.stat().st_size:
            return
        time.sleep(0.1)
    raise AssertionError(f"{file} does not come")
