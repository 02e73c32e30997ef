"""One attempt at a job: a process behind a guard, its log, and the reason for its end."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from hydra_gpu_launcher import guard
from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.job import Job
from hydra_gpu_launcher.leftovers import kill_all, processes_with
from hydra_gpu_launcher.slots import Slot

RETURN_FILE = guard.RETURN_FILE
GUARD = (sys.executable, "-I", "-S", guard.__file__)
TAIL = 2**16  # bytes of the log searched for the last error
_ERROR = re.compile(r"(error: |(\w+\.)*\w*(Error|Exception|Interrupt)(: |$))")


class Attempt:
    """A job running in a slot. It ends with this process, however that ends.

    Args:
        job: job to run.
        slot: the device and the CPU cores to run on.
        number: attempt number, from 1.
        grace: seconds from SIGTERM to SIGKILL.
        returns: file for the return value of the job.
        resumed: whether an earlier attempt has begun the job.

    Raises:
        LauncherError: the folder of the job is not writable, its log is a link, or no process can be started.
    """

    def __init__(self, job: Job, slot: Slot, number: int, grace: float, returns: Path, *, resumed: bool = False):
        self.job, self.slot, self.number = job, slot, number
        self._command = (job.resume_command if resumed else ()) or job.command
        self.timed_out = False
        self.shared = False  # whether another job has run on its device
        self._grace = grace
        self._deadline: float | None = None  # when to kill processes that outlive the guard
        self._returns = returns
        self._returns.unlink(missing_ok=True)
        read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        try:
            with self._open_log() as log:
                self._process = self._start(log, read_fd)
        except LauncherError:
            os.close(self._write_fd)
            raise
        finally:
            os.close(read_fd)
        self.began, self.began_at = time.monotonic(), time.time()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def poll(self) -> int | None:
        """Return None while it runs, then its exit status, or minus the number of the signal that killed it."""
        status = self._process.poll()
        return None if status and self._outlives_guard() else status

    def stop(self) -> None:
        """Ask the job to save and exit; after the grace period it is killed."""
        self._send(guard.STOP)

    def kill(self) -> None:
        """Kill the job at once, with every process it started."""
        self._deadline = time.monotonic()
        self._send(guard.KILL)

    def wait(self) -> None:
        """Wait until none of its processes is left."""
        self._process.wait()
        while self.poll() is None:
            time.sleep(guard.PAUSE)

    def close(self) -> None:
        """Close the pipe to the guard, which then stops the job if it still runs."""
        with contextlib.suppress(OSError):
            os.close(self._write_fd)
        self._wake()

    def returned(self) -> Any:
        """Return the return value of the job; None if it wrote none."""
        try:
            return json.loads(self._returns.read_text())
        except (OSError, ValueError):
            return None

    def remove_returns(self) -> None:
        """Remove the file for the return value, once it was read."""
        self._returns.unlink(missing_ok=True)

    def own_status(self, status: int) -> int:
        """Return the exit status of the job itself, which torchrun hides behind its own."""
        returned = self.returned() if status else None
        return int(returned["exit_status"]) if isinstance(returned, dict) and "exit_status" in returned else status

    def reason(self, status: int) -> str:
        """Return a short reason for the failure."""
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
            return f"killed by {name}" + (" (out of memory?)" if -status == signal.SIGKILL else "")
        line = self.last_error()
        return f"exit {status}: {line}" if line else f"exit {status}"

    def last_error(self) -> str:
        """Return the last line of the log that reports an error, or else the last line."""
        try:
            with open(self.job.log, "rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._before, end - TAIL))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        lines = [line.strip() for line in lines if line.strip()]
        errors = [line for line in lines if _ERROR.match(line)]
        messages = [line for line in errors if line.startswith("error: ")]  # as programs print it for their users
        return (messages or errors or lines or [""])[-1].removeprefix("error: ")

    def _open_log(self) -> BinaryIO:
        """Open the log and write the command line as given, with undecodable bytes."""
        job = self.job
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            log = open(job.log, "ab", buffering=0, opener=_open_no_link)  # noqa: SIM115 - the caller closes it
            try:
                log.write(self._header().encode(errors="surrogateescape"))
                self._before = log.tell()
            except OSError:
                log.close()
                raise
        except OSError as error:
            if job.log.is_symlink():
                raise LauncherError(
                    f"{job.log} is a link, so the output of the job would be added to another file. Remove the link,"
                    " then run the same command again."
                ) from error
            raise LauncherError(
                f"Cannot write {job.log}: {error.strerror or error}. See that its disk has space and that its folder"
                " can be written to, then run the same command again."
            ) from error
        return log

    def _start(self, log: BinaryIO, read_fd: int) -> "subprocess.Popen[bytes]":
        slot = self.slot
        arguments = [str(read_fd), str(self._grace), ",".join(map(str, slot.cores)), *self._command]
        try:
            return subprocess.Popen(
                [*GUARD, *arguments],
                env={**os.environ, **slot.environment, RETURN_FILE: str(self._returns), "PYTHONUNBUFFERED": "1"},
                pass_fds=[read_fd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the launcher, which passes it on
            )
        except OSError as error:
            raise LauncherError(f"Cannot start the process of {self.job.name}: {error.strerror or error}.") from error

    def _outlives_guard(self) -> bool:
        """Return whether processes are left after the end of the guard, as after SIGKILL to it.

        The kernel then sends SIGTERM to the job. Processes left after the grace period are killed, unless they cannot.
        """
        survivors = processes_with(f"{RETURN_FILE}={self._returns}")
        if survivors and self._deadline is None:
            self._deadline = time.monotonic() + self._grace
        if self._deadline is not None and time.monotonic() >= self._deadline:
            kill_all(survivors)
            if time.monotonic() >= self._deadline + guard.UNKILLABLE:
                return False
        return bool(survivors)

    def _header(self) -> str:
        environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.slot.environment.items())
        command_line = self.job.typed or shlex.join(self._command)
        attempt = f", attempt {self.number}" if self.number > 1 else ""
        return f"# {time.strftime('%Y-%m-%d %H:%M:%S')}, {self.slot.device}{attempt}: {environment} {command_line}\n"

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # the guard has exited
            os.write(self._write_fd, message)
        self._wake()

    def _wake(self) -> None:
        """Continue the guard in case it is stopped (SIGSTOP), so that it reads the pipe."""
        self._process.send_signal(signal.SIGCONT)


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
