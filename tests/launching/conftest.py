"""Sweeps in this process."""

import io
import signal
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console
from support.small_jobs import ROOT, Ran, sweep_of

from mcl.launching.job import Job


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """``run(jobs, devices=[0, 1])``: run them all, here."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("mcl.launching.queue.TICK", 0.02)

    def start(jobs: list[Job], **options: Any) -> Ran:
        file = io.StringIO()
        sweep = sweep_of(jobs, Console(file=file, width=200), **options)
        sweep.run()
        return Ran(sweep, file.getvalue())

    return start


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """What is ignored stays so in every process started from here, and tests in the background ignore some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
