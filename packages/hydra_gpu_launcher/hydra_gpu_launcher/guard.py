"""The guard process of one job: starts it, and cleans up once the job has ended or the launcher is gone.

A script that imports only the standard library, so that it starts within milliseconds:

    python -I -S guard.py PIPE GRACE CORES COMMAND...

PIPE is a file descriptor whose other end the launcher holds. The launcher writes ``STOP`` or ``KILL`` to it. End of
file means that the launcher has exited, and is handled like ``STOP``. To stop, the guard sends SIGTERM to the job,
which saves and exits; after GRACE seconds it kills every process that is left. On Linux these are all descendants of
the job, in any session: orphans become children of the guard. Elsewhere they are the process group of the job.

The guard ends like the job, with the same exit status or by the same signal. If the guard itself is killed, Linux sends
SIGTERM to the job, and the launcher kills what is left after GRACE seconds; elsewhere the job continues.
"""

import ctypes
import os
import select
import signal
import sys
import time

STOP, KILL = b"s", b"k"
RETURN_FILE = "GPU_LAUNCHER_RETURN_FILE"  # to which a job writes its return value as JSON, in a folder of the launcher
LINGER = 5.0  # seconds for processes left behind by a job that ended by itself
PAUSE = 0.05
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
UNKILLABLE = 60.0  # seconds after SIGKILL in which a process ends, unless the kernel waits for a device that is gone
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LINUX = sys.platform.startswith("linux")


def main(arguments: list[str]) -> None:
    """Start the job, wait for its end or a request to end it, clean up, and end like the job."""
    pipe, grace, cores, command = int(arguments[0]), float(arguments[1]), arguments[2], arguments[3:]
    signal_fd = _receive_signals()
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if cores:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    job = _start(command)
    killing = False
    try:
        status, killing = _wait(job, pipe, signal_fd, grace)
    finally:  # whatever fails here, no process of the job is left
        _clean_up(job, 0.0 if killing else min(grace, LINGER))
        _remove_returns(pipe)
    _end_like(status)


def _receive_signals() -> int:
    """Return a file descriptor from which the numbers of signals can be read."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd)
    for number in (*STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # an ignored signal would stay ignored in the job
    return read_fd


def _start(command: list[str]) -> int:
    guard = os.getpid()
    job = os.fork()
    if job:
        return job
    try:
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and the job would inherit that
        if LINUX:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if os.getppid() != guard:
                os._exit(1)
        os.execvp(command[0], command)
    except OSError as error:
        _print_error(f"{command[0]}: {error.strerror}")
    finally:
        os._exit(127)


def _wait(job: int, pipe: int, signal_fd: int, grace: float) -> tuple[int, bool]:
    """Wait for the end of the job. Return its status from ``waitpid``, and whether to kill what is left at once."""
    sources, deadline, killing, last = [pipe, signal_fd], None, False, None
    while True:
        ready, _, _ = select.select(
            sources, [], [], None if deadline is None else max(0.0, deadline - time.monotonic())
        )
        stop = False
        if pipe in ready:
            messages = os.read(pipe, 100)
            if not messages:
                sources.remove(pipe)
            stop, killing = True, killing or KILL in messages
        if signal_fd in ready and any(number in STOP_SIGNALS for number in os.read(signal_fd, 1000)):
            stop = True
        ended = _reap(job)
        if ended is not None:
            return ended, killing
        if stop and deadline is None:
            deadline = time.monotonic() + grace
            _send(job, signal.SIGTERM)
        if last is not None and time.monotonic() >= last:
            return int(signal.SIGKILL), True
        if killing or (deadline is not None and time.monotonic() >= deadline):
            _send(job, signal.SIGKILL)
            if not killing:
                _print_error(f"still running {grace:g} s after SIGTERM: killed")
            last = last or time.monotonic() + UNKILLABLE
            deadline, killing = last, True


def _reap(job: int) -> "int | None":
    """Reap exited children. Return the status of the job if it is among them."""
    status = None
    while True:
        try:
            child, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if child == 0:
            return status
        if child == job:
            status = ended


def _clean_up(job: int, patience: float) -> None:
    """Terminate, then kill the processes that are left, until there are none but those that cannot be killed."""
    deadline = time.monotonic() + patience
    terminated: set[int] = set()
    while remaining := _remaining_processes(job):
        late = time.monotonic() >= deadline
        if time.monotonic() >= deadline + UNKILLABLE:
            _print_error(f"left running, because SIGKILL does not end them: {', '.join(map(str, remaining))}")
            return
        for process in remaining:
            if late:
                _send(process, signal.SIGKILL)
            elif process not in terminated:
                _send(process, signal.SIGTERM)
        terminated |= set(remaining)
        time.sleep(PAUSE)
        _reap(job)


def _remove_returns(pipe: int) -> None:
    """Remove what the launcher would have removed if it is gone: the file for the return value, and its folder."""
    file = os.environ.get(RETURN_FILE, "")
    ready, _, _ = select.select([pipe], [], [], 0.0)
    if not file or not ready or os.read(pipe, 100):  # a message: the launcher lives
        return
    try:
        if os.path.exists(file):
            os.unlink(file)
        os.rmdir(os.path.dirname(file))
    except OSError:  # other jobs still run
        pass


def _remaining_processes(job: int) -> "list[int]":
    """Return the running descendants of this process; without /proc, the job's group as a negative number."""
    if not LINUX:
        try:
            os.killpg(job, 0)
        except OSError:
            return []
        return [-job]
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    stat = file.read()
            except OSError:
                continue
            state, parent = stat[stat.rindex(b")") + 1 :].split()[:2]  # the process name before it may contain anything
            if state not in (b"Z", b"X"):
                children.setdefault(int(parent), []).append(int(entry))
    descendants = list(children.get(os.getpid(), []))
    for process in descendants:  # the list grows while it is read
        descendants += children.get(process, [])
    return descendants


def _send(process: int, number: int) -> None:
    try:  # noqa: SIM105 - contextlib takes as long to import as everything else here
        os.kill(process, number)
    except OSError:
        pass


def _print_error(text: str) -> None:
    try:  # noqa: SIM105 - as above
        os.write(2, f"{text}\n".encode(errors="replace"))
    except OSError:  # the disk is full, for example
        pass


def _end_like(status: int) -> None:
    if os.WIFSIGNALED(status):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # any core dump is the job's
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(1.0)
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(sys.argv[1:])
