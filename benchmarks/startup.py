"""Start-up time: help, an error message, the first training step."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from measuring import Options, Seconds, medians

from mcl.reports.markdown import table
from mcl.runs.metrics_file import read_metrics

TITLE = "Start-up"
TRAIN = Path(__file__).parents[1] / "train.py"
PATIENCE = 300.0  # seconds for the first step
CASES = {
    "python -c pass": "Python alone",
    "python -c 'import torch'": "PyTorch alone",
    "python train.py --help": "help",
    "python train.py pair=resnet9": "a choice that is not there",
    "python train.py loss.tau=x": "a wrong value",
    "python train.py": "the first step of the default run is done and written down",
}


def measure(options: Options) -> Seconds:
    calls: list[Callable[[], float]] = [
        lambda: _seconds("-c", "pass"),
        lambda: _seconds("-c", "import torch"),
        lambda: _seconds(str(TRAIN), "--help"),
        lambda: _seconds(str(TRAIN), "pair=resnet9", status=1),
        lambda: _seconds(str(TRAIN), "loss.tau=x", status=1),
        _seconds_to_first_step,
    ]
    found: Seconds = {command: [] for command in CASES}
    for turn in range(-1, options.repeats):  # the first one fills the caches of the system
        for command, call in zip(CASES, calls, strict=True):
            seconds = call()
            if turn >= 0:
                found[command].append(seconds)
    return found


def _seconds(*arguments: str, status: int = 0) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    assert done.returncode == status, f"{arguments} ended with status {done.returncode}: {done.stderr}"
    return seconds


def _seconds_to_first_step() -> float:
    """Until the first line of metrics is there; the run is then asked to stop."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        command = [sys.executable, str(TRAIN), f"hydra.run.dir={run}", "trainer.log_every=1"]
        environment = {**os.environ, "WANDB_MODE": "offline"}  # no network
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=name, env=environment, stdout=DEVNULL, stderr=DEVNULL) as process:
            while not _has_line(run):
                assert process.poll() is None, f"{command} ended before its first step"
                assert time.perf_counter() - start < PATIENCE, f"{command} made no step"
                time.sleep(0.01)
            seconds = time.perf_counter() - start
            process.terminate()
    return seconds


def _has_line(run: Path) -> bool:
    try:
        return any(line is not None and line.has("train/total") for _, line in read_metrics(run))
    except OSError:
        return False


def report(result: dict[str, Any], folder: Path) -> list[str]:
    middle = medians(result["found"])
    rows = [[command, what, f"{middle[command]:.2f}"] for command, what in CASES.items()]
    return ["Seconds from the start of the process.", "", *table(["", "until", "s"], rows, 2)]
