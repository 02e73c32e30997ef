"""Run one measurement in a process of its own and report how it ended."""

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
class Attempt:
    """What came of one.

    Args:
        answer: of `mcl.benchmarking.measure.measure`; None when there is none.
        reason: why not; empty when there is one.
        refused: the configuration is at fault, and ``reason`` is meant for the person at the keyboard.
        seconds: it took, start of the process included.
    """

    answer: dict[str, Any] | None
    reason: str
    refused: bool
    seconds: float


def attempt(request: "Request", timeout: float | None = None) -> Attempt:
    """Measure in a child process. Whatever happens to that process is told, and harms nobody.

    Args:
        request: what.
        timeout: seconds after which the process is killed.
    """
    begun = time.perf_counter()
    with TemporaryDirectory(prefix="mcl-benchmark-") as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps(asdict(request)))
        try:
            done = _run([sys.executable, "-m", "mcl.benchmarking.measure", name], timeout)
        except subprocess.TimeoutExpired:
            return Attempt(None, f"given up after {timeout:.0f} s", False, time.perf_counter() - begun)
        answer: dict[str, Any] = {}
        if (file := folder / "answer.json").is_file():
            answer = json.loads(file.read_text())
    refused = answer.get("refused")
    reason = refused or answer.get("failed") or ("" if answer else _end_of(done))
    return Attempt(None if reason else answer, reason, refused is not None, time.perf_counter() - begun)


def _run(command: list[str], timeout: float | None) -> "subprocess.CompletedProcess[str]":
    """Run a process that ends when its standard input does, so that it does not outlive this one."""
    theirs, ours = os.pipe()
    try:
        return subprocess.run(
            command, stdin=theirs, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    finally:
        os.close(theirs)
        os.close(ours)


def _end_of(done: "subprocess.CompletedProcess[str]") -> str:
    """Why a process without an answer ended."""
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"killed by {name}" + (", most likely for want of memory" if name == "SIGKILL" else "")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line[:1].strip() and "Error" in line.split(":")[0]]
    return (errors or lines or [f"ended with status {done.returncode}"])[-1].strip()
