"""A guard process beside one job: starts it, and cleans up once the job is over or the launcher is gone.

Run as a script with the standard library alone, so that it is there within milliseconds:

    python -I -S guard.py PIPE GRACE CORES COMMAND...

PIPE is a file descriptor whose other end the launcher holds. What is read from it asks to stop (``STOP``) or to kill at
once (``KILL``); its end means that the launcher is gone, and stops, too. To stop is SIGTERM to the job, which saves and
leaves; after GRACE seconds everything that is left is killed. On Linux that is every process that descends from the
job, in whatever session: those that lose their parent become children of the guard. Elsewhere it is the job's group.

The guard ends as the job did, with the same exit status or by the same signal. If the guard itself is killed, Linux
sends SIGTERM to the job, and the launcher kills what is left after GRACE seconds; elsewhere the job runs on.
"""

import ctypes
import os
import select
import signal
import sys
import time

STOP, KILL = b"s", b"k"
LINGER = 5.0  # seconds for what a job that has ended by itself leaves behind
PAUSE = 0.05
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ASK = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LINUX = sys.platform.startswith("linux")


def main(arguments: list[str]) -> None:
    """Start the job, wait for its end or for a word to end it, clear up, and end like it."""
    pipe, grace, cores, command = int(arguments[0]), float(arguments[1]), arguments[2], arguments[3:]
    heard = _hear_signals()
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if cores:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    job = _start(command)
    killing = False
    try:
        status, killing = _wait(job, pipe, heard, grace)
    finally:  # whatever fails here, nothing of the job is left
        _clear(job, 0.0 if killing else min(grace, LINGER))
    _end_like(status)


def _hear_signals() -> int:
    """A descriptor from which the numbers of signals can be read."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    for number in (*ASK, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # not ignored, or the job would inherit that
    return heard


def _start(command: list[str]) -> int:
    guard = os.getpid()
    job = os.fork()
    if job:
        return job
    try:
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what is ignored stays so
        if LINUX:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if os.getppid() != guard:
                os._exit(1)
        os.execvp(command[0], command)
    except OSError as error:
        _print_error(f"{command[0]}: {error.strerror}")
    finally:
        os._exit(127)


def _wait(job: int, pipe: int, heard: int, grace: float) -> tuple[int, bool]:
    """Until the job has ended. Returns its status as of ``waitpid``, and whether everything was to be killed."""
    sources, deadline, killing = [pipe, heard], None, False
    while True:
        ready, _, _ = select.select(
            sources, [], [], None if deadline is None else max(0.0, deadline - time.monotonic())
        )
        stop = False
        if pipe in ready:
            said = os.read(pipe, 100)
            if not said:
                sources.remove(pipe)
            stop, killing = True, killing or KILL in said
        if heard in ready and any(number in ASK for number in os.read(heard, 1000)):
            stop = True
        ended = _reap(job)
        if ended is not None:
            return ended, killing
        if stop and deadline is None:
            deadline = time.monotonic() + grace
            _send(job, signal.SIGTERM)
        if killing or (deadline is not None and time.monotonic() >= deadline):
            _send(job, signal.SIGKILL)
            if not killing:
                _print_error(f"still running {grace:g} s after SIGTERM: killed")
            deadline, killing = time.monotonic() + 60.0, True  # whatever is left once the job itself has gone


def _reap(job: int) -> "int | None":
    """Bury every child that has ended; the status of the job if it is among them."""
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


def _clear(job: int, patience: float) -> None:
    """Ask what is left to end, then kill it, until nothing is left."""
    until = time.monotonic() + patience
    asked: set[int] = set()
    while left := _left(job):
        late = time.monotonic() >= until
        for process in left:
            if late:
                _send(process, signal.SIGKILL)
            elif process not in asked:
                _send(process, signal.SIGTERM)
        asked |= set(left)
        time.sleep(PAUSE)
        _reap(job)


def _left(job: int) -> "list[int]":
    """Processes that descend from this one and have not ended; without /proc, the job's group (a negative number)."""
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
            state, parent = stat[stat.rindex(b")") + 1 :].split()[:2]  # the name before it may hold anything
            if state not in (b"Z", b"X"):
                children.setdefault(int(parent), []).append(int(entry))
    found = list(children.get(os.getpid(), []))
    for process in found:  # which grows
        found += children.get(process, [])
    return found


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

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the job has dumped its core, if any
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(1.0)
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(sys.argv[1:])
