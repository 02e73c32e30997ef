"""Run one measurement in its own process and report how it ended."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.benchmarking.measure import Request


@dataclass(frozen=True)
class Measurement:
    """The result of one measurement.

    Args:
        answer: result of `mcl.benchmarking.measure.measure`; None if it failed.
        reason: why it failed; empty otherwise.
        refused: whether the configuration is wrong, and ``reason`` a message for the user.
        seconds: duration, start of the process included.
    """

    answer: dict[str, Any] | None
    reason: str
    refused: bool
    seconds: float


def measure_in_process(request: "Request", timeout: float | None = None) -> Measurement:
    """Measure in a child process, which may crash without harm.

    Args:
        request: request for `mcl.benchmarking.measure.measure`.
        timeout: seconds after which the process is killed.
    """
    start = time.perf_counter()
    with TemporaryDirectory(prefix="mcl-benchmark-") as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps(asdict(request)))
        try:
            process = _run([sys.executable, "-m", "mcl.benchmarking.measure", name], timeout)
        except subprocess.TimeoutExpired:
            return Measurement(None, f"given up after {timeout:.0f} s", False, time.perf_counter() - start)
        answer: dict[str, Any] = {}
        if (file := folder / "answer.json").is_file():
            answer = json.loads(file.read_text())
    refused = answer.get("refused")
    reason = refused or answer.get("failed") or ("" if answer else _why_ended(process))
    return Measurement(None if reason else answer, reason, refused is not None, time.perf_counter() - start)


def _run(command: list[str], timeout: float | None) -> "subprocess.CompletedProcess[str]":
    """Run a process that exits when its standard input ends, so that it does not outlive this one."""
    read_fd, write_fd = os.pipe()
    try:
        return subprocess.run(
            command, stdin=read_fd, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    finally:
        os.close(read_fd)
        os.close(write_fd)


def _why_ended(process: "subprocess.CompletedProcess[str]") -> str:
    """Return the reason why a process ended without an answer."""
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return f"killed by {name}" + (", most likely for lack of memory" if name == "SIGKILL" else "")
    lines = [line for line in process.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line[:1].strip() and "Error" in line.split(":")[0]]
    return (errors or lines or [f"ended with status {process.returncode}"])[-1].strip()
