"""A stand-in for ``python`` that starts in milliseconds, with torch and what training needs imported already.

A server imports the modules once and forks for every command; a small client passes on the arguments, the environment,
the working folder, standard input and output, and signals, and ends like the command. So a test runs a command in a
process of its own without the seconds that importing torch takes. Use ``sys.executable`` for what depends on the start
of an interpreter: what is imported, signals during start-up, options of python itself.

    python warm_python.py FOLDER    # the server: writes FOLDER/python, and serves until its standard input ends
"""

import array
import atexit
import contextlib
import gc
import io
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
IMPORTED = (
    *("torch._dynamo", "torch.distributed.launcher.api", "torchvision", "sklearn.datasets", "rich.table"),
    *("mcl.config.entry", "mcl.training.run", "mcl.training.setup", "mcl.deploy.export", "mcl.losses.lmcl"),
    *("mcl.data.synthetic", "mcl.data.folder", "mcl.data.digits", "mcl.networks.resnet"),
)  # what is run with -m must not be among them
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys
if not sys.argv[1:] or sys.argv[1][:1] == "-" and sys.argv[1] not in ("-c", "-m", "-u"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])  # options of python itself
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
for number in {forwarded!r}:
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, lambda number, _: server.sendall(bytes([number])))
request = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
descriptors = array.array("i", [0, 1, 2])
server.sendmsg([len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
server.sendall(request)
status = int(server.recv(16) or b"1")
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@contextlib.contextmanager
def warm_python(folder: Path) -> Iterator[str]:
    """Start the server; yield the path of the stand-in, or that of the interpreter where there can be none."""
    long_or_blank = len(str(folder)) > 90 or len(sys.executable) > 100 or " " in sys.executable  # of a socket, after #!
    if long_or_blank or not hasattr(os, "pidfd_open"):  # only Linux has this
        yield sys.executable
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield str(folder / "python")
        server.stdin.close()


def serve(folder: Path) -> None:
    """Fork a process for every request until standard input ends, then kill those that are left."""
    sys.path[0] = str(ROOT)
    for module in IMPORTED:
        import_module(module)
    gc.freeze()  # a collection in a forked process does not copy what is imported
    address, client = folder / "socket", folder / "python"
    client.write_text(
        CLIENT.format(python=sys.executable, address=str(address), forwarded=[int(number) for number in FORWARDED])
    )
    client.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen(64)
    selector = selectors.DefaultSelector()
    running: set[int] = set()
    selector.register(listener, selectors.EVENT_READ, lambda: _start(listener, selector, running, str(client)))
    selector.register(0, selectors.EVENT_READ, None)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.data is None:  # standard input has ended: nobody needs this server
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                return
            key.data()


def _start(listener: socket.socket, selector: selectors.BaseSelector, running: set[int], client: str) -> None:
    """Fork the process of one request; its end and its signals are events of the server."""
    connection, _ = listener.accept()
    length, ancillary, *_ = connection.recvmsg(8, socket.CMSG_SPACE(3 * 4))
    descriptors = array.array("i", ancillary[0][2])
    text = b""
    while len(text) < int.from_bytes(length, "big"):
        text += connection.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        selector.close()
        listener.close()
        connection.close()
        _become(*json.loads(text), descriptors, client)
    for descriptor in descriptors:
        os.close(descriptor)
    running.add(pid)
    process = os.pidfd_open(pid)

    def ended() -> None:
        running.remove(pid)
        selector.unregister(process)
        os.close(process)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            connection.sendall(str(status).encode())
        with contextlib.suppress(KeyError):
            selector.unregister(connection)
        connection.close()

    def heard() -> None:
        if connection.fileno() < 0:  # closed by `ended`, an event of the same moment
            return
        numbers = connection.recv(16)
        if not numbers:  # the client was killed
            selector.unregister(connection)
        for number in numbers or bytes([signal.SIGKILL]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    selector.register(process, selectors.EVENT_READ, ended)
    selector.register(connection, selectors.EVENT_READ, heard)


def _become(words: list[str], environment: dict[str, str], folder: str, descriptors: Any, client: str) -> None:
    """Turn the forked process into the command; does not return."""
    status = 1
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        unbuffered = words[0] == "-u"
        words = words[unbuffered:]
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            raw = io.FileIO(descriptor, "w", closefd=False)
            buffered = not unbuffered and name == "stdout" and not raw.isatty()
            stream = io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=not buffered, write_through=unbuffered)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        sys.executable = client
        sys.path[1:1] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
        status = _end(lambda: _execute(words))
    finally:
        os._exit(status)


def _execute(words: list[str]) -> None:
    """Run ``-c CODE``, ``-m MODULE`` or a script, as python does."""
    first, *arguments = words
    if first == "-c":
        code, *arguments = arguments
        sys.argv, sys.path[0] = ["-c", *arguments], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), main.__dict__)
    elif first == "-m":
        module, *arguments = arguments
        sys.argv, sys.path[0] = ["-m", *arguments], os.getcwd()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(first).resolve().parent)
        runpy.run_path(first, run_name="__main__")


def _end(program: Callable[[], None]) -> int:
    """Return the exit status of a program, after what python does at its end; may end by SIGINT."""
    status = 0
    try:
        program()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        traceback.print_exc()
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if status < 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
