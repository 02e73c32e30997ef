"""A job for tests: ``a_job.py FOLDER BEHAVIOR...``. It behaves like a training program, without torch.

It locks its folder, resumes what an earlier attempt has saved, saves and exits with status 75 at SIGTERM, and writes
summary.json last. ``trace.jsonl`` has a line for every start, end and stop. With the behavior ``by torchrun`` it exits
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

sys.path.insert(0, str(Path(__file__).parents[1]))
from fakes.folders import lock_folder, read_summary, write_atomically

IN_USE = 69
folder, behavior = Path(sys.argv[1]), sys.argv[2:]
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
        (folder / "evaluated").touch()
    if name == "daemon":  # a process in its own session that ignores SIGTERM too
        code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); open({!r}, 'w').write(str(os.getpid()))"
        code = code.format(str(folder / "daemon")) + "; time.sleep(600)"
        subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=True)
        wait_for(folder / "daemon")


try:
    lock = lock_folder(folder)
except BlockingIOError:
    print(f"error: {folder} is in use by another process", file=sys.stderr)
    write_atomically(os.environ["GPU_LAUNCHER_RETURN_FILE"], json.dumps({"exit_status": IN_USE}))
    sys.exit(1 if "by torchrun" in behavior else IN_USE)
signal.signal(signal.SIGTERM, stopped)
if read_summary(folder) is None or "whatever is there" in behavior:
    trace("started")
    for what in behavior:
        act(what)
    write_atomically(folder / "summary.json", json.dumps({"name": folder.name}))
    trace("ended")
release_memory()
write_atomically(os.environ["GPU_LAUNCHER_RETURN_FILE"], json.dumps(91.5))
lock.close()
