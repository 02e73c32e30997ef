"""Torn files: what each command makes of a run folder, a bundle or an exported file of which one file is damaged.

A command must give the numbers of the whole folder, or print a line that names the damaged file.
"""

import json
import os
import random
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from kills import SYNTHETIC, images
from run_files import different_files, steps
from typed import MCL, TRAIN, Typed, leftovers, run

from mcl.runs.identity import identity
from mcl.runs.layout import CONFIG, EXPORT, RECORD, SUMMARY
from mcl.runs.stored_config import decode_config

BUNDLE = f"{EXPORT}/bundle.zip"
WHOLE, STOPPED = "finished", "stopped"  # runs of which a file is torn
STOPPED_AT = 5  # steps
PERMITTED = ("same numbers", "same numbers, file named", "refused, file named", "other numbers, file named")
FAULTS = ("refused, file not named", "traceback", "SILENT: other numbers", "left over")
ANOTHER = "another run's"
OUTPUT, HASHES = "printed", "SHA256SUMS"
DIGITS = b"0123456789"


def _flip(content: bytes, rng: random.Random) -> bytes:
    """Flip the lowest bit of a byte: of a digit if the file is text, which makes another digit of it."""
    text = all(byte < 128 for byte in content)
    places = [place for place, byte in enumerate(content) if not text or byte in DIGITS]
    if not places:
        return content
    place = rng.choice(places)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


WAYS: dict[str, Callable[[bytes, bytes, random.Random], bytes]] = {
    "cut to 0 bytes": lambda content, other, rng: b"",
    "cut to half": lambda content, other, rng: content[: len(content) // 2],
    "cut by one byte": lambda content, other, rng: content[:-1],
    "one bit flipped": lambda content, other, rng: _flip(content, rng),
    "garbage appended": lambda content, other, rng: content + rng.randbytes(64),
    ANOTHER: lambda content, other, rng: other,
}


def trials(records: Iterable[dict[str, Any]], out: Path, goal: int | None = None) -> Iterator[dict[str, Any]]:
    """Tear every file in every way and type every command; yield a record for each command on each torn file."""
    done = {key(record) for record in records}
    base = Base(out)
    for case in cases(base)[:goal]:
        if key(case) not in done:
            yield {**case, **try_case(base, case)}


def key(record: dict[str, Any]) -> str:
    """Return what a trial is: the same when it is repeated."""
    return " | ".join(record[part] for part in ("state", "file", "way", "command"))


class Base:
    """The whole folders, each made once, and the work folder in which copies of them are torn.

    Args:
        out: folder for all files.
    """

    def __init__(self, out: Path):
        self.out = out
        self.work, self.results = out / "work" / "run", out / "results"
        self.image = out / "images" / "val" / "a" / "0.png"
        self._whole: dict[tuple[str, str], dict[str, bytes]] = {}
        images(out / "images")

    def place(self, state: str, seed: int = 0) -> Path:
        """Return a whole folder, which is made at first: of seed 0, or the other run of seed 1."""
        folder = self.out / f"{state}-{seed}"
        if state == WHOLE:
            self._finish(folder, seed)
        else:
            self._stop(folder, seed)
        return folder

    def files(self, state: str) -> list[str]:
        """Return the names of all files of a whole folder."""
        place = self.place(state)
        return sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())

    def copy(self, state: str) -> None:
        """Put a whole folder in the work folder, and remove earlier results."""
        for place in (self.work, self.results):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.place(state), self.work)
        self.results.mkdir()

    def whole_numbers(self, state: str, command: str, file: str) -> dict[str, bytes]:
        """Return the numbers that a command gives for a whole folder."""
        about = (state, f"{command} {file}" if command == "predict" else command)
        if about not in self._whole:
            self.copy(state)
            typed = run(commands(self, command, file), self.out / "whole.log")
            if typed.status:
                raise RuntimeError(f"{command} failed on a whole folder: {typed.output}")
            self._whole[about] = numbers(self, typed.output)
        return self._whole[about]

    def _finish(self, folder: Path, seed: int) -> None:
        """Train a run and put its bundle and its exported networks beside its files."""
        if (folder / BUNDLE).exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        self._must([TRAIN, *SYNTHETIC, f"seed={seed}", f"hydra.run.dir={folder}"])
        for form in ("torch", "safetensors"):
            self._must([MCL, "export", str(folder), "--network", "0", "--format", form])
        self._must([MCL, "bundle", str(folder), "--out", str(folder / BUNDLE)])

    def _stop(self, folder: Path, seed: int) -> None:
        """Stop a run by SIGTERM in its second epoch."""
        if folder.exists():
            return
        new = folder.with_name("new")
        shutil.rmtree(new, ignore_errors=True)
        typed = Typed([TRAIN, *SYNTHETIC, f"seed={seed}", f"hydra.run.dir={new}"], self.out / "whole.log")
        if not typed.wait_until(lambda: max(steps(new), default=(0,))[0] >= STOPPED_AT):
            raise RuntimeError(f"the run ended before it could be stopped: {typed.output}")
        os.kill(typed.pid, signal.SIGTERM)
        if typed.wait() == 0:
            raise RuntimeError("the run ended before it could be stopped")
        new.rename(folder)

    def _must(self, command: list[str]) -> None:
        typed = run(command, self.out / "whole.log")
        if typed.status:
            raise RuntimeError(f"{' '.join(command)} failed: {typed.output}")


def cases(base: Base) -> list[dict[str, str]]:
    """Return all cases in a fixed random order: which run, which file is torn, how, and what is typed then."""
    found = [
        {"state": state, "file": file, "way": way, "command": command}
        for state in (WHOLE, STOPPED)
        for file in base.files(state)
        for way in WAYS
        if way != ANOTHER or not file.startswith(f"{EXPORT}/")  # typed by name, another whole file is what is meant
        for command in commands_for(state, file)
    ]
    random.Random(0).shuffle(found)
    return found


def commands_for(state: str, file: str) -> tuple[str, ...]:
    """Return the commands that read a file."""
    if file == BUNDLE:
        return ("evaluate", "predict")
    if file.startswith(f"{EXPORT}/"):
        return () if file.endswith(".md") else ("predict",)
    return ("resume",) if state == STOPPED else ("resume", "evaluate", "export", "bundle", "report")


def commands(base: Base, command: str, file: str) -> list[str]:
    """Return what is typed."""
    work, results = str(base.work), str(base.results)
    reads = str(base.work / file) if file.startswith(f"{EXPORT}/") else work
    return {
        "resume": [TRAIN, *SYNTHETIC, "seed=0", f"hydra.run.dir={work}"],
        "evaluate": [MCL, "evaluate", reads, "--out", results],
        "export": [MCL, "export", work, "--format", "torch", "--out", results],
        "bundle": [MCL, "bundle", work, "--out", f"{results}/bundle.zip"],
        "report": [MCL, "report", str(base.work.parent), "--out", results],
        "predict": [MCL, "predict", reads, str(base.image), "--top", "4"],
    }[command]


def numbers(base: Base, output: str) -> dict[str, bytes]:
    """Return everything that a command has computed: what it printed, and the files that it wrote."""
    found = {OUTPUT: output.encode()}
    for file in base.results.rglob("*"):
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                found |= {name: _comparable(name, archive.read(name)) for name in archive.namelist()}
        elif file.is_file():
            found[file.relative_to(base.results).as_posix()] = _comparable(file.name, file.read_bytes())
    found.pop(HASHES, None)  # of files that are compared themselves
    return found


def _comparable(name: str, content: bytes) -> bytes:
    """Return the content without what cannot change a result, and with the header of a safetensors file in order."""
    if name == CONFIG:
        return json.dumps(identity(decode_config(content, name))).encode()
    if name == SUMMARY:
        return json.dumps(json.loads(content)).encode()
    if name == RECORD:
        record = json.loads(content)
        return json.dumps({part: record[part] for part in record if part not in ("code", "date")}).encode()
    if name.endswith(".safetensors"):
        size = 8 + int.from_bytes(content[:8], "little")
        return json.dumps(json.loads(content[8:size]), sort_keys=True).encode() + content[size:]
    return content


def try_case(base: Base, case: dict[str, str]) -> dict[str, Any]:
    """Tear a file, type a command, and return what came of it."""
    state, file, command = case["state"], case["file"], case["command"]
    trained = command == "resume" and (state == STOPPED or file == SUMMARY)
    whole = {} if trained else base.whole_numbers(state, command, file)
    base.copy(state)
    torn = base.work / file
    content = torn.read_bytes()
    other = b""
    if case["way"] == ANOTHER:
        place = base.place(state, 1) / file
        other = place.read_bytes() if place.exists() else b""
    damaged = WAYS[case["way"]](content, other, random.Random(key(case)))
    if damaged == content:
        return {"outcome": "nothing to damage"}
    torn.write_bytes(damaged)
    typed = run(commands(base, command, file), base.out / "typed.log")
    orphans = leftovers()
    output = typed.output
    found = {} if trained else numbers(base, output)
    differing = different(found, whole, output) if not trained else trained_differently(base)
    named = any(Path(file).name in line for line in new_lines(output, whole, base))
    outcome = judge(typed.status or 0, output, named, differing)
    details: dict[str, Any] = {"status": typed.status, "outcome": "left over" if orphans else outcome}
    if outcome not in PERMITTED[:2]:
        details |= {"printed": output[-600:], "differs": differing[:5]}
    return details


def different(found: dict[str, bytes], whole: dict[str, bytes], output: str) -> list[str]:
    """Return the names of results that differ; of what was printed, only lines of the whole output that are missing."""
    names = sorted(name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name))
    printed = set(output.splitlines())
    return [name for name in names if name != OUTPUT] + [line for line in lines(whole) if line not in printed]


def new_lines(output: str, whole: dict[str, bytes], base: Base) -> list[str]:
    """Return what is not printed for a whole folder; the line on a bundle that was written names all files of a run."""
    known = lines(whole)
    return [line for line in output.splitlines() if line not in known and not line.startswith(str(base.results))]


def lines(found: dict[str, bytes]) -> list[str]:
    """Return the printed lines among the numbers of a command."""
    return found.get(OUTPUT, b"").decode().splitlines()


def trained_differently(base: Base) -> list[str]:
    """Compare a resumed run with the one that was never stopped; bundles and exports are no part of it."""
    extra = [name for name in base.files(WHOLE) if name.startswith(f"{EXPORT}/")]
    return different_files(base.work, base.place(WHOLE), ignored=extra)


def judge(status: int, output: str, named: bool, differing: list[str]) -> str:
    """Return the outcome, one of PERMITTED or FAULTS."""
    if "Traceback (most recent call last)" in output or status < 0:
        return "traceback"
    if status:
        return "refused, file named" if named else "refused, file not named"
    if differing:
        return "other numbers, file named" if named else "SILENT: other numbers"
    return "same numbers, file named" if named else "same numbers"
