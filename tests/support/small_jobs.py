"""Jobs without torch, and their traces. As a script it is a launcher: ``small_jobs.py FOLDER NAME:BEHAVIOUR...``."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from mcl.launching.board import Board
from mcl.launching.gpu_monitor import gpu_monitor
from mcl.launching.gpus import find_gpus
from mcl.launching.job import Job, Outcome
from mcl.launching.launch_options import Options
from mcl.launching.queue import JobQueue, Source
from mcl.launching.slots import make_slots

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def a_job(folder: Path, *behaviour: str, **fields: Any) -> Job:
    """Return a job with this behaviour: see ``a_job.py``."""
    command = (sys.executable, str(HERE / "a_job.py"), str(folder), *behaviour)
    return Job(**{"name": folder.name, "folder": folder, "command": command, "config_hash": folder.name} | fields)


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
        [a_job(Path(sys.argv[1]) / name, *behaviour.split()) for name, _, behaviour in job_specs], Console(width=200)
    )
    try:
        sweep.run()
    except KeyboardInterrupt:
        sys.exit(130)
    failure = sweep.failure()
    if failure:
        print(f"error: {failure}")
    sys.exit(1 if failure else 0)
