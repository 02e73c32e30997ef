"""Job queues in this process."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from fakes.small_jobs import PACKAGE, QueueResult, hear_signals, sweep_of
from rich.console import Console

from hydra_gpu_launcher.job import Job


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., QueueResult]:
    """``run(jobs, devices=[0, 1])``: run all jobs in this process."""
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("hydra_gpu_launcher.queue.TICK", 0.02)

    def start(jobs: list[Job], **options: Any) -> QueueResult:
        file = io.StringIO()
        sweep = sweep_of(jobs, Console(file=file, width=200), **options)
        sweep.run()
        return QueueResult(sweep, file.getvalue())

    return start


_signals_are_heard = pytest.fixture(scope="session", autouse=True)(hear_signals)
