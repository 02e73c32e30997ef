"""A run that is killed again and again, at any moment, ends like one that nothing stopped."""

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
from small_runs import META, SMALL, Outcome

ROOT = Path(__file__).resolve().parents[2]
KILLS = 30
TYPED = [
    *SMALL,
    *META,
    # Long enough for 30 kills; saving and meta rounds take a good part of the time, so that kills hit them.
    *("trainer.epochs=60", "trainer.checkpoint_every=1", "trainer.keep=3", "loss.meta.interval=2", "trainer.threads=1"),
]


MARKED = """
import os, pathlib
from mcl.training.meta_round import MetaRound
call, mark = MetaRound.__call__, pathlib.Path(os.environ["MARK"])
def marked(*arguments):
    mark.touch()
    outer_loss = call(*arguments)
    mark.unlink()
    return outer_loss
MetaRound.__call__ = marked
import train
train.train()
"""  # train.py, with a file that is there during meta rounds


def mark_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-in-meta-round")


def start(folder: Path) -> "subprocess.Popen[bytes]":
    mark_of(folder).unlink(missing_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", MARKED, *TYPED, f"hydra.run.dir={folder}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MARK": str(mark_of(folder))},
    )


@pytest.mark.slow
def test_a_run_killed_at_thirty_random_moments_ends_with_the_same_bits(tmp_path: Path) -> None:
    """A third of the kills wait for a file being written, a third for a meta round, the others for nothing."""
    assert start(tmp_path / "whole").wait() == 0
    rng = random.Random(int(os.environ.get("MCL_KILL_SEED", "0")))
    run = tmp_path / "run"
    hit: Counter[str] = Counter()
    while sum(hit.values()) < KILLS:
        process = start(run)
        aimed = rng.choice(["writing", "meta round", "anywhere"])
        hit[kill(process, run, aimed, rng)] += 1
        assert not (run / "summary.json").exists(), f"finished before {KILLS} kills: {hit}"
    assert start(run).wait() == 0
    print(f"\nkilled while: {dict(hit)}")
    assert Outcome(run).equals(Outcome(tmp_path / "whole"))


def kill(process: "subprocess.Popen[bytes]", run: Path, aimed: str, rng: random.Random) -> str:
    """SIGKILL at a moment of the kind that was aimed at. Returns what was hit."""
    aside = run / "checkpoints" / "last.pt.tmp"
    if aimed == "anywhere":
        time.sleep(rng.uniform(0, 6))  # start-up included
    else:
        wait_for_progress(process, run)
        awaited = aside if aimed == "writing" else mark_of(run)
        while process.poll() is None and not awaited.exists():
            pass
        time.sleep(rng.uniform(0, 0.002 if aimed == "writing" else 0.1))
    process.send_signal(signal.SIGSTOP)  # so that what is seen now is what it was killed in
    what = "writing a checkpoint" if aside.exists() else "meta round" if mark_of(run).exists() else "other"
    process.send_signal(signal.SIGKILL)
    process.wait()
    return what


def wait_for_progress(process: "subprocess.Popen[bytes]", run: Path) -> None:
    """Until this process has written a checkpoint of its own."""

    def written() -> int:
        with contextlib.suppress(OSError):
            return (run / "checkpoints" / "last.pt").stat().st_mtime_ns
        return 0

    before = written()
    while process.poll() is None and written() == before:
        time.sleep(0.005)
