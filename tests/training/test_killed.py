"""A run killed at random moments gives the same result as an uninterrupted one, also with two processes."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.small_runs import META, SMALL, Outcome

ROOT = Path(__file__).resolve().parents[2]
KILLS = {1: 30, 2: 10}  # number of processes -> number of kills
TYPED = [
    *SMALL,
    *META,
    # Long enough for all kills; saving and meta rounds take a good part of the time, so that kills hit them.
    *(
        "trainer.batch_size=8",
        "trainer.epochs=60",
        "trainer.checkpoint_every=1",
        "trainer.max_checkpoints=3",
        "loss.meta.interval=2",
        "trainer.threads=1",
    ),
]


MARKED = """
import os, pathlib
from mcl.training.meta_round import MetaRound
call, mark = MetaRound.__call__, pathlib.Path(os.environ["MARK"])
def marked(*arguments):
    mark.touch()
    outer_loss = call(*arguments)
    mark.unlink(missing_ok=True)
    return outer_loss
MetaRound.__call__ = marked
import train
train.train()
"""  # train.py, with a file that is there during meta rounds


def mark_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-in-meta-round")


def start(folder: Path, processes: int) -> "subprocess.Popen[bytes]":
    mark_of(folder).unlink(missing_ok=True)
    script = folder.with_name("marked.py")
    script.write_text(MARKED)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), *TYPED, f"hydra.run.dir={folder}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if processes > 1 else None,  # torchrun's report on each killed process
        env={**os.environ, "OMP_NUM_THREADS": "1", "MARK": str(mark_of(folder)), "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
@pytest.mark.parametrize("processes", KILLS)
def test_run_killed_at_random_moments_ends_bitwise_identical(processes: int, tmp_path: Path) -> None:
    """A third of the kills wait for a file being written, a third for a meta round, the others for nothing."""
    assert start(tmp_path / "whole", processes).wait() == 0
    rng = random.Random(int(os.environ.get("MCL_KILL_SEED", "0")))
    run = tmp_path / "run"
    hit: Counter[str] = Counter()
    while sum(hit.values()) < KILLS[processes]:
        process = start(run, processes)
        phase = rng.choice(["writing", "meta round", "anywhere"])
        hit[kill(process, run, phase, rng, processes)] += 1
        assert not (run / "summary.json").exists(), f"finished before {KILLS[processes]} kills: {hit}"
    assert start(run, processes).wait() == 0
    print(f"\n{processes} process{'es' * (processes > 1)}, killed while: {dict(hit)}")
    assert Outcome(run).equals(Outcome(tmp_path / "whole"))


def kill(process: "subprocess.Popen[bytes]", run: Path, phase: str, rng: random.Random, processes: int) -> str:
    """Send SIGKILL in the chosen phase. Return the phase in which the process was killed."""
    temporary_file = run / "checkpoints" / "last.pt.tmp"
    if phase == "anywhere":
        time.sleep(rng.uniform(0, 6 if processes == 1 else 12))  # start-up included
    else:
        wait_for_progress(process, run)
        watched_file = temporary_file if phase == "writing" else mark_of(run)
        while process.poll() is None and not watched_file.exists():
            pass
        time.sleep(rng.uniform(0, 0.002 if phase == "writing" else 0.1))
    target = process.pid if processes == 1 else rng.choice(children_of(process.pid) or [process.pid])
    with contextlib.suppress(ProcessLookupError):
        os.kill(target, signal.SIGSTOP)  # freeze it, so that the phase seen now is the one it is killed in
    actual_phase = (
        "writing a checkpoint" if temporary_file.exists() else "meta round" if mark_of(run).exists() else "other"
    )
    with contextlib.suppress(ProcessLookupError):
        os.kill(target, signal.SIGKILL)
    process.wait(timeout=60)
    return actual_phase


def children_of(pid: int) -> list[int]:
    """Return the process ids of torchrun's workers, in starting order."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def wait_for_progress(process: "subprocess.Popen[bytes]", run: Path) -> None:
    """Wait until this process has written a checkpoint of its own."""

    def written() -> int:
        with contextlib.suppress(OSError):
            return (run / "checkpoints" / "last.pt").stat().st_mtime_ns
        return 0

    before = written()
    while process.poll() is None and written() == before:
        time.sleep(0.005)
