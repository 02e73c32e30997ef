"""Job queues in this process."""

import io
import signal
from collections.abc import Callable
from typing import Any

import pytest
from fakes.small_jobs import ROOT, QueueResult, sweep_of
from hydra_gpu_launcher.job import Job
from rich.console import Console


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., QueueResult]:
    """``run(jobs, devices=[0, 1])``: run all jobs in this process."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("hydra_gpu_launcher.queue.TICK", 0.02)

    def start(jobs: list[Job], **options: Any) -> QueueResult:
        file = io.StringIO()
        sweep = sweep_of(jobs, Console(file=file, width=200), **options)
        sweep.run()
        return QueueResult(sweep, file.getvalue())

    return start


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """Reset ignored signals: subprocesses inherit them, and background shells ignore some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
