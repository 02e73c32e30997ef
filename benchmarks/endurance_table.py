"""The table of `endurance.py`: what was tried, and what it found."""

import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kills
import parents
import torn

from mcl.files import write_atomically
from mcl.reports.markdown import table
from mcl.version import library_versions

Records = Sequence[dict[str, Any]]
HEAD = """# Endurance: killed runs, killed multiruns, torn files

`python benchmarks/endurance.py --out FOLDER` makes these trials, for hours. It can be stopped at any time; typed again,
it continues. Small runs on the CPU; most commands are forks of a process that has imported PyTorch, and each tenth
run uses new interpreters.
"""


def faults_of(record: dict[str, Any]) -> list[str]:
    """Return what went wrong in a trial."""
    faults = [f"left over: {line}" for line in record.get("orphans", [])] + list(record.get("faults", []))
    if record.get("outcome") in torn.FAULTS:
        faults.append(f"{torn.key(record)}: {record['outcome']}")
    return faults


def is_unsettled(record: dict[str, Any]) -> bool:
    """Return whether a torn file gave other numbers or a fault."""
    return "outcome" in record and record["outcome"] not in torn.PERMITTED[:3]


def describe(record: dict[str, Any]) -> str:
    """Return a line on a trial."""
    if "outcome" in record:
        text = f"{torn.key(record)}: {record['outcome']}"
    elif "ended" in record:
        text = f"{'run' if 'run' in record else 'multirun'} {record.get('run', record.get('multirun'))} ended"
    elif "hit" in record:
        text = f"run {record['run']} killed in {record['hit']} at step {record['step']}"
    else:
        text = f"multirun {record['multirun']} killed after {len(record['finished'])} jobs"
    return f"{record['at']} {record['part']}: {text}" + "".join(f"\n  FAULT {fault}" for fault in faults_of(record))


def write_table(records: Records, file: Path) -> None:
    """Write the table of all trials."""
    parts = {part: [record for record in records if record["part"] == part] for part in ("kills", "parents", "torn")}
    latest = list({torn.key(record): record for record in parts["torn"]}.values())
    lines = [
        HEAD,
        *_state(parts, latest),
        *("## SIGKILL of a run", "", *_kills(parts["kills"])),
        *("## SIGKILL of a multirun's parent", "", *_parents(parts["parents"])),
        *("## Torn files", "", *_torn(latest)),
        *("## Faults", "", *_faults([*parts["kills"], *parts["parents"], *latest])),
    ]
    write_atomically(file, "\n".join(lines).rstrip() + "\n")


def _state(parts: dict[str, Records], latest: Records) -> list[str]:
    killed = sum("hit" in record for record in parts["kills"])
    jobs = sum(record["jobs"] for record in parts["parents"] if "ended" in record)
    goals = [
        f"{killed} of {kills.GOAL} kills",
        f"{jobs} of {parents.GOAL * parents.JOBS} jobs",
        f"{len(latest)} torn files",
    ]
    records = [record for part in parts.values() for record in part]
    codes = ", ".join(dict.fromkeys(record["code"] for record in records)) or "none yet"
    libraries = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    dates = sorted(record["at"] for record in records)
    span = f", {dates[0]} to {dates[-1]}" if dates else ""
    return [
        f"Trials done: {', '.join(goals)}{span}.",
        "",
        f"mcl {codes}; {libraries}; {platform.system()} {platform.machine()}, {os.cpu_count()} cores.",
        "",
    ]


def _kills(records: Records) -> list[str]:
    hits = Counter((record["kind"], record["hit"]) for record in records if "hit" in record)
    ended = [record for record in records if "ended" in record]
    rows = []
    for name, kinds in [*((kind, [kind]) for kind in kills.KINDS), ("all", list(kills.KINDS))]:
        counts = [sum(hits[kind, phase] for kind in kinds) for phase in kills.PHASES]
        rows.append([name, *map(str, counts), str(sum(counts))])
    orphans = sum(len(record["orphans"]) for record in records if "orphans" in record)
    return [
        "Kills by the phase that they hit. Each killed command was typed again until the run ended.",
        "",
        *table(["run", *kills.PHASES, "all"], rows, words=1),
        f"{len(ended)} runs ended and were compared with an undisturbed run: every line of metrics.jsonl, the weights,"
        " optimizers and random states of every checkpoint, all evaluation files, the list of files."
        f" {sum(bool(record['faults']) for record in ended)} differed. {orphans} processes were left over.",
        "",
    ]


def _parents(records: Records) -> list[str]:
    killed = [record for record in records if "finished" in record]
    ended = [record for record in records if "ended" in record]
    row = [
        *(len(ended), sum(record["jobs"] for record in ended), len(killed)),
        sum(record["typed_again_at_once"] for record in killed),
        sum(bool(record["faults"]) for record in ended),
        sum(len(record["orphans"]) for record in killed),
    ]
    headers = ["multiruns", "jobs", "kills", "typed again at once", "with faults", "processes left over"]
    return [
        f"Multiruns of {parents.JOBS} jobs with `hydra/launcher=gpus` on the CPU, two jobs at a time. Every job must"
        " finish exactly once and equal an undisturbed one.",
        "",
        *table(headers, [list(map(str, row))], words=0),
    ]


def _torn(records: Records) -> list[str]:
    outcomes = [*torn.PERMITTED, *torn.FAULTS]
    lines = [
        f"Each file of a run folder, of a bundle and of exported networks, {', '.join(torn.WAYS)}; then each command."
        " A command must give the numbers of the whole folder or name the file.",
        "",
    ]
    for title, part in (("file", "file"), ("damage", "way"), ("command", "command")):
        counts = Counter((_row(record, part), record["outcome"]) for record in records)
        names = list(dict.fromkeys(_row(record, part) for record in records))
        rows = [[name, *(str(counts[name, outcome]) for outcome in outcomes)] for name in names]
        lines += table([title, *outcomes], rows, words=1)
    return lines


def _row(record: dict[str, Any], part: str) -> str:
    return f"{record['file']} ({record['state']} run)" if part == "file" else str(record[part])


def _faults(records: Records) -> list[str]:
    faults = [f"- {fault}" for record in records for fault in faults_of(record)]
    return [*faults, ""] if faults else ["None.", ""]
