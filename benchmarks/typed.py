"""Commands as a user types them, each in a process of its own that can be watched, killed and checked for orphans."""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
TRAIN, MCL = "train.py", "mcl"  # ``python train.py ...`` and ``python -m mcl ...``
IMPORTED_BY_TRAINING = (
    *("mcl.config.entry", "mcl.training.run", "mcl.training.setup", "mcl.deploy.export", "mcl.losses.lmcl"),
    *("mcl.data.synthetic", "mcl.data.folder", "mcl.data.digits", "mcl.networks.resnet", "torch._dynamo"),
)
ORPHANS_END_WITHIN = 60.0  # seconds, on a machine with other work; a guard gives its job 30 s to save
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prepare() -> None:
    """Import what training imports, so that forked commands need not, and adopt the orphans of all commands.

    Call it once, in a process without threads; the number of threads of torch and numpy must be set to 1 before.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.path.insert(0, str(REPOSITORY))
    for module in IMPORTED_BY_TRAINING:
        import_module(module)


class Typed:
    """A running command.

    Args:
        command: ``["train.py", "seed=1"]`` or ``["mcl", "report", "runs"]``.
        log: the file for what it prints.
        forked: False starts a new interpreter. True forks this process, which has imported the modules already; that
            saves most of the seconds of a short run.
    """

    def __init__(self, command: Sequence[str], log: Path, *, forked: bool = True):
        self.log = log
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(list(command), log, forked)

    @property
    def output(self) -> str:
        """Everything that it has printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far; a delay in processor time hits the same phase on a busy machine."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def running(self) -> bool:
        """Return whether it is still running."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def wait(self) -> int:
        """Return the exit status; negative for a signal."""
        while self.running():
            time.sleep(0.005)
        assert self.status is not None
        return self.status

    def wait_until(self, reached: Callable[[], bool], pause: float = 0.002) -> bool:
        """Return whether a condition holds before the command ends; it is asked every ``pause`` seconds."""
        while self.running():
            if reached():
                return True
            time.sleep(pause)
        return False

    def wait_for_cpu(self, seconds: float) -> bool:
        """Return whether the command uses that much more processor time before it ends."""
        whole_ticks, rest = divmod(seconds, 1 / CLOCK_TICKS)
        until = self.cpu_seconds + whole_ticks / CLOCK_TICKS
        reached = self.wait_until(lambda: self.cpu_seconds >= until)
        time.sleep(rest)
        return reached and self.running()

    def kill(self, look: Callable[[], str] = str) -> str:
        """Stop the command, return what ``look`` finds, and kill it with SIGKILL."""
        os.kill(self.pid, signal.SIGSTOP)
        found = look()
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        return found


def run(command: Sequence[str], log: Path, *, forked: bool = True) -> Typed:
    """Run a command to its end."""
    typed = Typed(command, log, forked=forked)
    typed.wait()
    return typed


def leftovers() -> list[str]:
    """Return the command lines of processes that outlive all commands, and kill them."""
    deadline = time.monotonic() + ORPHANS_END_WITHIN
    while children := _children():
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    lines = []
    while children:
        for pid in children:
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        children = _children()  # their own children are adopted, too
    return lines


def _children() -> list[int]:
    """Return the children of this process that are alive; collect those that have ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            return []
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _become(command: list[str], log: Path, forked: bool) -> None:
    """Turn a forked process into the command; does not return."""
    status = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        os.chdir(REPOSITORY)
        nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for descriptor, source in enumerate((nothing, output, output)):
            os.dup2(source, descriptor)
        program, *arguments = command
        if not forked:
            script = ["-m", MCL] if program == MCL else [program]
            os.execv(sys.executable, [sys.executable, *script, *arguments])
        status = _call(program, arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _call(program: str, arguments: list[str]) -> int:
    if program == MCL:
        from mcl.__main__ import main

        return main(arguments)
    from train import train

    sys.argv = [str(REPOSITORY / TRAIN), *arguments]
    train()
    return 0
