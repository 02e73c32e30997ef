"""Jobs without torch, and their traces. As a script it is a launcher: ``small_jobs.py FOLDER NAME:BEHAVIOR...``."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fakes.folders import LockingJob
from rich.console import Console

from hydra_gpu_launcher.board import Board
from hydra_gpu_launcher.errors import Stopped
from hydra_gpu_launcher.gpu_monitor import gpu_monitor
from hydra_gpu_launcher.gpus import find_gpus
from hydra_gpu_launcher.job import Job, Outcome
from hydra_gpu_launcher.launch_options import Options
from hydra_gpu_launcher.queue import JobQueue, Source
from hydra_gpu_launcher.slots import make_slots

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1]  # as PYTHONPATH


def a_job(folder: Path, *behavior: str, **fields: Any) -> Job:
    """Return a job with this behavior: see ``a_job.py``."""
    command = (sys.executable, str(HERE / "a_job.py"), str(folder), *behavior)
    return LockingJob(**{"name": folder.name, "folder": folder, "command": command} | fields)


def traced(folder: Path, what: str = "") -> list[dict[str, Any]]:
    """Return the lines of a job's trace, all of them or those of one kind."""
    file = folder / "trace.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [line for line in lines if not what or line["what"] == what]


def alive(pid: int) -> bool:
    """Return whether a process is running."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds; fail after ``seconds``."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "the condition did not become true in time"
        time.sleep(0.02)


def when(file: Path, act: Callable[[], object]) -> None:
    """Call a function in a thread once a file exists."""

    def wait() -> None:
        wait_until(file.exists)
        act()

    threading.Thread(target=wait, daemon=True).start()


def hear_signals() -> None:
    """Reset ignored signals: subprocesses inherit them, and background shells ignore some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass
class QueueResult:
    """The outcome of a queue of jobs."""

    sweep: JobQueue
    printed: str

    def outcome(self, job: Job) -> Outcome:
        return self.sweep.outcome(job)

    @property
    def statuses(self) -> list[str]:
        return [outcome.status for outcome in self.sweep.outcomes]


def sweep_of(
    jobs: list[Job],
    console: Console,
    uuids: dict[str, str] | None = None,
    source: Source | None = None,
    **options: Any,
) -> JobQueue:
    """Return a queue over the fake devices 0 and 1, or over those with these UUIDs in a fake NVML."""
    chosen = Options(**{"devices": [0, 1], "grace": 20} | options)
    slots = make_slots(find_gpus(chosen.devices, os.environ), chosen, list(range(8)) if uuids else None)
    if uuids:  # made-up cores, to which no process can be pinned
        slots = [replace(slot, cores=()) for slot in slots]
    monitor = gpu_monitor(uuids, "hydra.launcher.per_gpu=auto") if uuids else None
    return JobQueue(jobs, slots, chosen, Board(console), monitor, source)


if __name__ == "__main__":
    job_specs = [argument.partition(":") for argument in sys.argv[2:]]
    sweep = sweep_of(
        [a_job(Path(sys.argv[1]) / name, *behavior.split()) for name, _, behavior in job_specs], Console(width=200)
    )
    try:
        sweep.run()
    except KeyboardInterrupt:
        sys.exit(130)
    except Stopped as stop:
        print(f"stopped by {stop.name}")
        raise
    failure = sweep.failure()
    if failure:
        print(f"error: {failure}")
    sys.exit(1 if failure else 0)
