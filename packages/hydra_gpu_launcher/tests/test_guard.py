"""The guard: signals of a scheduler, processes that cannot be killed, commands that cannot be started."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.small_jobs import QueueResult, a_job, traced, wait_until

from hydra_gpu_launcher import guard

Run = Callable[..., QueueResult]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the guard in /proc")


@linux
@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2", "SIGTERM"])
def test_job_saves_if_a_scheduler_sends_a_signal_to_its_guard(run: Run, tmp_path: Path, name: str) -> None:
    job = a_job(tmp_path / "a", "once=sleep:600")

    def send() -> None:
        wait_until(lambda: (job.folder / "once").exists())
        pid = traced(job.folder, "started")[0]["pid"]
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(parent), getattr(signal, name))

    thread = threading.Thread(target=send)
    thread.start()
    result = run([job])
    thread.join()
    assert traced(job.folder)[-1]["what"] == "stopped"
    assert result.statuses == ["stopped"]


def test_guard_gives_up_on_a_process_that_cannot_be_killed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(guard, "UNKILLABLE", 0.2)
    monkeypatch.setattr(guard, "_remaining_processes", lambda job: [4, 5])
    monkeypatch.setattr(guard, "_reap", lambda job: None)
    monkeypatch.setattr(guard, "_send", lambda process, number: sent.append(number))
    began = time.monotonic()
    guard._clean_up(4, 0.1)
    assert 0.3 <= time.monotonic() - began < 5
    assert sent[:2] == [signal.SIGTERM] * 2
    assert sent[-2:] == [signal.SIGKILL] * 2
    assert capfd.readouterr().err == "left running, because SIGKILL does not end them: 4, 5\n"
    launcher, signals = os.pipe(), os.pipe()
    os.write(launcher[1], guard.KILL)
    assert guard._wait(4, launcher[0], signals[0], 0.1) == (signal.SIGKILL, True)
    for descriptor in (*launcher, *signals):
        os.close(descriptor)


def test_command_that_is_too_long_is_not_called_a_full_disk(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "a")
    long = replace(job, command=(*job.command, "x" * 2**22))
    other = a_job(tmp_path / "b")
    result = run([long, other])
    assert result.statuses == ["failed", "done"]
    assert result.outcome(long).reason == "Cannot start the process of a: Argument list too long."
