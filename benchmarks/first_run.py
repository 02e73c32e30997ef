"""The first command of README.md: how long it takes, and its result."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import Options

from mcl.reports.markdown import table

TITLE = "First run"
TRAIN = str(Path(__file__).parents[1] / "train.py")


def measure(options: Options) -> dict[str, Any]:
    """Train in an empty folder, then type the command again, and again."""
    typed = [TRAIN] if options.epochs == Options.epochs else [TRAIN, f"trainer.epochs={options.epochs}"]
    with tempfile.TemporaryDirectory() as folder:
        training = _seconds(typed, folder)
        again = [_seconds(typed, folder) for _ in range(options.repeats)]
        (file,) = Path(folder, "runs").rglob("summary.json")
        return {
            "folder": str(file.parent.relative_to(folder)),
            "training": training,
            "again": again,
            "summary": json.loads(file.read_text()),
        }


def _seconds(arguments: list[str], folder: str) -> float:
    environment = {**os.environ, "WANDB_MODE": "offline"}
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


def report(result: dict[str, Any], folder: Path) -> list[str]:
    found = result["found"]
    again = sorted(found["again"])[len(found["again"]) // 2]
    rows = [
        [f"trained, with result in `{found['folder']}`", f"{found['training']:.1f}"],
        ["typed again", f"{again:.1f}"],
    ]
    return [
        "`python train.py` in an empty folder, from the start of the process to its end.",
        "",
        *table(["", "s"], rows, 1),
    ]
