"""SIGKILL at any moment of a run: the command is typed again until the run ends, and nothing may differ."""

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from run_files import different_files, steps
from typed import TRAIN, Typed, leftovers, run

from mcl.runs.layout import CHECKPOINTS, CONFIG, EVALUATION, LOCK, METRICS, SUMMARY, TEST

Stamp = tuple[int, int]  # when a file was written, and its size

GOAL = 500  # kills
AT_MOST = 8  # kills of one run
NEW_INTERPRETER = 10  # one run in so many starts each command in a new interpreter
EPOCH, INTERVAL = 4, 3  # steps of an epoch, and from one meta round to the next
SMALL = [
    *("dataset.train_per_class=16", "dataset.test_per_class=4", "dataset.classes=4", "dataset.image_size=8"),
    *("trainer.batch_size=16", "trainer.epochs=2", "trainer.log_every=1", "trainer.checkpoint_every=2"),
    *("trainer.threads=1", "trainer.device=cpu", "tracking=none"),
    *(f"loss.meta.interval={INTERVAL}", "loss.meta.steps=1", "loss.dim=8", "loss.matching.dim=8"),
]
SYNTHETIC = ["dataset=synthetic", *SMALL]
FOLDER = [
    *("dataset=folder", "dataset.storage=disk", "dataset.workers=1", "dataset.image_size=8"),
    *(option for option in SMALL if not option.startswith("dataset.")),
]
KINDS = {  # kind of run -> its options
    "lmcl": SYNTHETIC,
    "memory banks": [*SYNTHETIC, "loss/contrast=memory", "loss.contrast.neg_k=8"],
    "read from disk": FOLDER,  # by a worker process
}
PHASES = ("start", "step", "meta round", "checkpoint", "evaluation", "final files")
WINDOWS = {  # seconds of processor time, from the first sign of a phase
    "start": 0.9,
    "step": 0.05,
    "meta round": 0.2,
    "checkpoint": 0.0,
    "evaluation": 0.05,
    "final files": 0.03,
}
IMPORTS = 4.0  # seconds of processor time before a new interpreter is as far as a forked one


class Watch:
    """Read from the files of a run folder what its command is doing. Make it before the command has changed any."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.before = self._changing()
        self._read: Stamp | None = None
        self._rows: list[tuple[int, bool]] = []

    def phase(self) -> str:
        """Return the phase that the command is in."""
        changed = self._changing()
        for file in changed.keys() & self.before.keys():
            if changed[file] == self.before[file]:
                del changed[file]
        if any(file.endswith(".pt.tmp") for file in changed):
            return "checkpoint"
        if any(file.startswith((EVALUATION, SUMMARY)) for file in changed):
            return "final files"
        if not changed:
            return "start"
        if (log := changed.get(METRICS)) != self._read:
            self._read, self._rows = log, steps(self.folder)
        step, evaluated = self._rows[-1] if self._rows else (0, False)
        if step and step % EPOCH == 0 and not evaluated:
            return "evaluation"  # the checkpoint before it is a phase of its own
        return "meta round" if step % INTERVAL == 0 else "step"

    def _changing(self) -> dict[str, "Stamp"]:
        """Return when each file was written, and its size."""
        stamps: dict[str, Stamp] = {}
        places = (self.folder, self.folder / CHECKPOINTS, self.folder / EVALUATION / TEST)
        for place in places:
            with suppress(FileNotFoundError):
                for entry in os.scandir(place):
                    if entry.name != CONFIG and entry.is_file():
                        status = entry.stat()
                        name = (place / entry.name).relative_to(self.folder).as_posix()
                        stamps[name] = (status.st_mtime_ns, status.st_size)
        stamps.pop(LOCK, None)
        return stamps


def images(root: Path) -> None:
    """Write class folders of small images, the same at each call."""
    import torch
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 16), ("val", 4)):
        for name in "abcd":
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = torch.randint(256, (8, 8, 3), generator=generator, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")


def command(kind: str, folder: Path, root: Path) -> list[str]:
    """Return the command of a run of a kind; ``root`` has the images."""
    data = [f"dataset.root={root}"] if kind == "read from disk" else []
    return [TRAIN, *KINDS[kind], *data, f"hydra.run.dir={folder}"]


def trials(records: Iterable[dict[str, Any]], out: Path, goal: int = GOAL) -> Iterator[dict[str, Any]]:
    """Kill runs until there are ``goal`` kills; yield a record for each kill and for each run that has ended."""
    records = list(records)
    kills = [record for record in records if "aimed" in record]
    hit = Counter(record["hit"] for record in kills)
    number = sum("ended" in record for record in records)
    while hit.total() < goal:
        kind = list(KINDS)[number % len(KINDS)]
        ours = [record for record in kills if record["run"] == number]
        for record in one_run(number, kind, out, hit, len(ours), goal - hit.total()):
            hit.update([record["hit"]] if "hit" in record else [])
            yield record
        number += 1


def one_run(number: int, kind: str, out: Path, hit: Counter[str], kills: int, at_most: int) -> Iterator[dict[str, Any]]:
    """Kill one run some times, let it end, and compare it with an undisturbed run.

    Args:
        number: of the run.
        kind: of the run.
        out: folder for all files.
        hit: kills so far, by phase; the rarest phases are aimed at.
        kills: of this run so far.
        at_most: so many more kills.
    """
    reference = undisturbed(kind, out)
    folder, log = out / "run", out / "run.log"
    forked = number % NEW_INTERPRETER != NEW_INTERPRETER - 1
    typed_command = command(kind, folder, out / "images")
    about = {"run": number, "kind": kind, "new_interpreter": not forked}
    rng = random.Random(f"{number} {kills}")
    if not kills:
        shutil.rmtree(folder, ignore_errors=True)
    faults: list[str] = []
    for _ in range(min(at_most, rng.randint(4, AT_MOST) - kills)):
        aimed = min(PHASES, key=lambda phase: (hit[phase], rng.random()))
        watch = Watch(folder)
        typed = Typed(typed_command, log, forked=forked)
        if not wait_for(typed, watch, aimed, rng, forked):
            break  # it ended first
        phase = typed.kill(watch.phase)
        orphans = leftovers()
        yield {**about, "aimed": aimed, "hit": phase, "step": last_step(folder), "orphans": orphans}
    started = time.monotonic()
    typed = run(typed_command, log, forked=forked)
    if typed.status != 0:
        faults.append(f"the last command ended with status {typed.status}: {typed.output[-500:]}")
    faults += [f"left over: {line}" for line in leftovers()] + different_files(folder, reference)
    if faults:
        shutil.copytree(folder, out / f"faulty-{number}", dirs_exist_ok=True)
    yield {**about, "ended": True, "faults": faults, "seconds": round(time.monotonic() - started, 1)}


def wait_for(typed: Typed, watch: Watch, aimed: str, rng: random.Random, forked: bool) -> bool:
    """Wait for a moment in a phase; return False if the command ends before it."""
    delay = rng.uniform(0, WINDOWS[aimed] + (0 if forked or aimed != "start" else IMPORTS))
    if aimed == "start":
        return typed.wait_for_cpu(delay)
    skip = rng.randrange(2) if aimed != "final files" else 0  # not always the first one after the start
    pause = 0.0002 if aimed in ("checkpoint", "final files") else 0.002

    def reached() -> bool:
        return watch.phase() == aimed

    for _ in range(skip):
        if not typed.wait_until(reached, pause) or not typed.wait_until(lambda: watch.phase() != aimed, pause):
            return False
    return typed.wait_until(reached, pause) and (delay == 0 or typed.wait_for_cpu(delay))


def last_step(folder: Path) -> int:
    """Return the last step in metrics.jsonl; 0 without a line."""
    return max((step for step, _ in steps(folder)), default=0)


def undisturbed(kind: str, out: Path) -> Path:
    """Return the folder of a run of this kind that nothing stopped."""
    folder = out / f"undisturbed {kind}".replace(" ", "-")
    if not (folder / SUMMARY).exists():
        shutil.rmtree(folder, ignore_errors=True)
        images(out / "images")
        typed = run(command(kind, folder, out / "images"), out / "undisturbed.log")
        if typed.status:
            raise RuntimeError(f"the undisturbed run of {kind} failed: {typed.output}")
    return folder
