"""Start-up time: help, an error message, the result of a finished run, the first training step."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from measuring import Options, Seconds, medians

from mcl.reports.markdown import table
from mcl.runs.metrics_file import read_metrics

TITLE = "Start-up"
TRAIN = str(Path(__file__).parents[1] / "train.py")
TIMEOUT = 300.0  # seconds for the first step
FIRST_STEP = "python train.py"
FINISHED = "python train.py trainer.max_steps=1"
CASES = {  # command as shown -> what it reaches, its arguments, its exit status
    "python -c pass": ("Python alone", ["-c", "pass"], 0),
    "python -c 'import torch'": ("PyTorch alone", ["-c", "import torch"], 0),
    "python train.py --help": ("help", [TRAIN, "--help"], 0),
    "python train.py pair=resnet9": ("an unknown choice", [TRAIN, "pair=resnet9"], 1),
    "python train.py loss.tau=x": ("an invalid value", [TRAIN, "loss.tau=x"], 1),
    FINISHED: ("the result of a run that has finished", [TRAIN, "trainer.max_steps=1", "tracking=none"], 0),
    FIRST_STEP: ("the first step of the default run is logged", [TRAIN, "trainer.log_every=1"], 0),
}


def measure(options: Options) -> Seconds:
    with tempfile.TemporaryDirectory() as finished:
        _seconds_to_end(CASES[FINISHED][1], finished, 0)
        return _measure(options, finished)


def _measure(options: Options, finished: str) -> Seconds:
    results: Seconds = {command: [] for command in CASES}
    for turn in range(-1, options.repeats):  # the first turn fills the caches of the system
        for command, (_, arguments, status) in CASES.items():
            with tempfile.TemporaryDirectory() as folder:
                if command == FIRST_STEP:
                    seconds = _seconds_to_first_step(arguments, Path(folder))
                else:
                    place = finished if command == FINISHED else folder
                    seconds = _seconds_to_end(arguments, place, status)
            if turn >= 0:
                results[command].append(seconds)
    return results


def _seconds_to_end(arguments: list[str], folder: str, status: int) -> float:
    start = time.perf_counter()
    process = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert process.returncode == status, f"{arguments} ended with status {process.returncode}: {process.stderr}"
    return seconds


def _seconds_to_first_step(arguments: list[str], folder: Path) -> float:
    """Return the seconds until the first line of metrics is written; then stop the run."""
    run = folder / "run"
    command = [sys.executable, *arguments, f"hydra.run.dir={run}"]
    environment = {**os.environ, "WANDB_MODE": "offline"}
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=DEVNULL, stderr=DEVNULL) as process:
        while not _has_line(run):
            assert process.poll() is None, f"{command} ended before its first step"
            assert time.perf_counter() - start < TIMEOUT, f"{command} took no step in {TIMEOUT:.0f} s"
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
    seconds = medians(result["found"])
    rows = [[command, goal, f"{seconds[command]:.2f}"] for command, (goal, *_) in CASES.items() if command in seconds]
    return ["Seconds from the start of the process.", "", *table(["", "until", "s"], rows, 2)]
