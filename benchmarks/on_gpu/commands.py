"""Commands of the project, run as a user would type them, and what they wrote."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mcl.runs.layout import METRICS
from on_gpu.setup import Setup

ROOT = Path(__file__).parents[2]
GRACE = 30.0  # seconds in which a stopped run may save a checkpoint


class Done(NamedTuple):
    """How a command ended: its status, None if it was stopped, and the end of what it printed."""

    status: int | None
    output: str

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return next((line.strip() for line in reversed(self.output.splitlines()) if line.strip()), "no output")


def run(
    setup: Setup, command: Sequence[str], limit: float, *, stop: signal.Signals = signal.SIGTERM, **environment: str
) -> Done:
    """Run ``python COMMAND`` in the project's folder; send it a signal after ``limit`` seconds."""
    variables = {"WANDB_MODE": "disabled", "MCL_CACHE": str(setup.out / "cache"), "COLUMNS": "200", **environment}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **variables, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=limit)
        return Done(process.returncode, output)
    except subprocess.TimeoutExpired:
        process.send_signal(stop)
        try:
            output, _ = process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        return Done(None, output)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a run's metrics."""
    file = folder / METRICS
    if not file.exists():
        return []
    lines = file.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"}\n")]
