"""A job for tests: ``a_job.py FOLDER BEHAVIOUR...``. It behaves like train.py, without torch.

It locks its folder, resumes what an earlier attempt has saved, saves and exits with status 75 at SIGTERM, and writes
summary.json last. ``trace.jsonl`` has a line for every start, end and stop. With the behaviour ``by torchrun`` it exits
with status 1 if the folder is in use. On a fake GPU (``fake_pynvml.py``), ``memory=FOLDER:GIB`` uses memory until the
job ends, and ``fits=FOLDER:GIB`` runs out of it if all jobs there use more.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs.lock import FolderLock
from mcl.runs.summary import intact_summary, with_checksum

folder, behaviour = Path(sys.argv[1]), sys.argv[2:]
held: list[Path] = []  # files that stand for memory


def trace(what: str) -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    line = {
        "what": what,
        "time": time.monotonic(),
        "gpu": os.environ["CUDA_VISIBLE_DEVICES"],
        "threads": os.environ["OMP_NUM_THREADS"],
        "cores": cores,
        "pid": os.getpid(),
    }
    with open(folder / "trace.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")


def stopped(*_: object) -> None:
    trace("stopped")
    release_memory()
    os._exit(75)


def release_memory() -> None:
    for file in held:
        file.unlink()
    held.clear()


def wait_for(*files: Path) -> None:
    for _ in range(3000):
        if all(file.exists() for file in files):
            return
        time.sleep(0.01)
    raise TimeoutError(f"{files} did not appear")


def act(what: str) -> None:
    name, _, value = what.partition("=")
    if name == "raise":
        raise RuntimeError(value)
    if name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "freeze":  # the guard and the job
        os.kill(os.getppid(), signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
    if name == "exit":
        os._exit(int(value))
    if name == "sleep":
        time.sleep(float(value))
    if name == "touch":
        Path(value).touch()
    if name == "wait":
        wait_for(Path(value))
    if name == "deaf":  # ignore SIGTERM
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if name == "once" and not (folder / "once").exists():  # act only at the first attempt
        (folder / "once").touch()
        act(value.replace(":", "="))
    if name == "memory":
        place, _, size = value.rpartition(":")
        held[:] = [Path(place, folder.name)]
        write_atomically(held[0], size)
    if name == "fits":
        place, _, size = value.rpartition(":")
        used = sum(float(file.read_text()) for file in Path(place).iterdir() if file.suffix != ".tmp")
        if used > float(size):
            release_memory()
            print("error: CUDA out of memory.", file=sys.stderr)
            os._exit(71)
    if name == "evaluate":
        with open(folder / "metrics.jsonl", "a") as file:
            file.write('{"step": 4, "epoch": 1, "time": 1.0, "test/ensemble/top1": 50.0}\n')
    if name == "daemon":  # a process in its own session that ignores SIGTERM too
        code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); open({!r}, 'w').write(str(os.getpid()))"
        code = code.format(str(folder / "daemon")) + "; time.sleep(600)"
        subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=True)
        wait_for(folder / "daemon")


try:
    lock = FolderLock(folder)
except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    write_atomically(os.environ["MCL_RETURN_FILE"], json.dumps({"exit_status": error.status}))
    sys.exit(1 if "by torchrun" in behaviour else error.status)
signal.signal(signal.SIGTERM, stopped)
summary = intact_summary(folder)
if summary is None or summary.get("config_hash") != folder.name or "whatever is there" in behaviour:
    trace("started")
    for what in behaviour:
        act(what)
    networks = [{"top1_last": 90.0}, {"top1_last": 93.0}]
    write_atomically(
        folder / "summary.json", json.dumps(with_checksum({"config_hash": folder.name, "networks": networks}))
    )
    trace("ended")
release_memory()
write_atomically(os.environ["MCL_RETURN_FILE"], json.dumps(91.5))
lock.release()
