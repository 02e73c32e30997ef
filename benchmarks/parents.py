"""SIGKILL of a multirun's parent: typed again, every job must finish exactly once, and no process may be left over."""

import json
import random
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kills import SMALL
from run_files import different_files
from typed import TRAIN, Typed, leftovers, run

from hydra_gpu_launcher.job import LOG as JOB_LOG
from mcl.runs.layout import SUMMARY

JOBS = 10  # of a multirun
GOAL = 20  # multiruns; as many kills of a parent
STAGGER = 4.0  # at most so many seconds between the end of a job and the kill


def command(folder: Path, jobs: int) -> list[str]:
    """Return the command of a multirun with tiny jobs."""
    return [
        *(TRAIN, "-m", "hydra/launcher=gpus", "hydra.launcher.devices=cpu", "hydra.launcher.per_gpu=2"),
        *("dataset=synthetic", "loss=independent", *(option for option in SMALL if not option.startswith("loss."))),
        *(f"seed={','.join(map(str, range(jobs)))}", f"hydra.sweep.dir={folder}"),
    ]


def trials(
    records: Iterable[dict[str, Any]], out: Path, goal: int = GOAL, jobs: int = JOBS
) -> Iterator[dict[str, Any]]:
    """Run ``goal`` multiruns; yield a record for each kill of a parent and for each multirun that has ended."""
    records = list(records)
    number = sum("ended" in record for record in records)
    kills = [record for record in records if "finished" in record]
    while number < goal or len(kills) < goal:
        reference = undisturbed(out, jobs)
        ours = [record for record in kills if record["multirun"] == number]
        for record in one_multirun(number, out, reference, ours, number + 1 - len(kills), jobs):
            kills += [record] if "finished" in record else []
            yield record
        number += 1


def one_multirun(
    number: int, out: Path, reference: dict[int, Path], killed: list[dict[str, Any]], kills: int, jobs: int
) -> Iterator[dict[str, Any]]:
    """Kill the parent of a multirun, type the command again until it ends, and compare the jobs with undisturbed ones.

    Args:
        number: of the multirun.
        out: folder for all files.
        reference: the folder of an undisturbed job by its seed.
        killed: records of kills of this multirun so far.
        kills: how many more kills to make.
        jobs: of a multirun.
    """
    folder, log = out / "multirun", out / "multirun.log"
    rng = random.Random(f"{number} {len(killed)}")
    if not killed:
        shutil.rmtree(folder, ignore_errors=True)
    killed = list(killed)
    for _ in range(kills):
        typed = Typed(command(folder, jobs), log, forked=False)
        wanted = rng.randrange(jobs)
        if not typed.wait_until(lambda wanted=wanted: len(finished(folder)) >= wanted, 0.02):
            break
        time.sleep(rng.uniform(0, STAGGER))
        if not typed.running():
            break
        typed.kill()
        at_once = rng.random() < 0.5  # typed again while the jobs of the dead parent may still be saving
        orphans = [] if at_once else leftovers()
        done = {str(place): stamp for place, stamp in finished(folder).items()}
        record = {"multirun": number, "finished": done, "typed_again_at_once": at_once, "orphans": orphans}
        killed.append(record)
        yield record
    typed = run(command(folder, jobs), log, forked=False)
    faults = [f"left over: {line}" for line in leftovers()]
    if typed.status:
        faults.append(f"the last command ended with status {typed.status}: {typed.output[-500:]}")
    done = finished(folder)
    seeds = {seed(place): place for place in done}
    if len(done) != jobs or seeds.keys() != reference.keys():
        faults.append(f"{len(done)} finished jobs with {len(seeds)} seeds, not {jobs}")
    for record in killed:
        again = [place for place, stamp in record["finished"].items() if done.get(Path(place)) != stamp]
        faults += [f"{place} was run again after it had finished" for place in again]
    for number_, place in sorted(seeds.items()):
        lines = different_files(place, reference[number_], ignored=[JOB_LOG])
        faults += [f"seed {number_}: {line}" for line in lines]
    if faults:
        shutil.copytree(folder, out / f"faulty-{number}", dirs_exist_ok=True)
    yield {"multirun": number, "ended": True, "jobs": len(done), "faults": faults}


def finished(folder: Path) -> dict[Path, int]:
    """Return the folders of finished jobs, and when their summaries were written."""
    return {file.parent: file.stat().st_mtime_ns for file in sorted(folder.rglob(SUMMARY))}


def seed(folder: Path) -> int:
    """Return the seed of a finished job."""
    return int(json.loads((folder / SUMMARY).read_text())["seed"])


def undisturbed(out: Path, jobs: int) -> dict[int, Path]:
    """Return the folder of each job of a multirun that nothing stopped, by its seed."""
    folder = out / "undisturbed"
    if len(finished(folder)) < jobs:
        typed = run(command(folder, jobs), out / "undisturbed.log", forked=False)
        if typed.status:
            raise RuntimeError(f"the undisturbed multirun failed: {typed.output}")
    return {seed(place): place for place in finished(folder)}
