"""Helpers for tests of reports: read a table of a page, and write runs to report."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from support.run_folders import config, write_run

from mcl.runs.identity import config_hash
from mcl.studies.planned_run import PlannedRun
from mcl.studies.study import Study


def cells(page: str, heading: str, *labels: str) -> list[str]:
    """Return the other cells of the line whose first cell begins with these labels, in the first table below a heading.

    The rest of the first cell, such as the network, comes first.
    """
    below = page.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in below.splitlines() if line[:1] == "|"]
    lines = [[*line[0].split(", "), *line[1:]] for line in lines]
    (row,) = [line for line in lines if line[: len(labels)] == list(labels)]
    return row[len(labels) :]


def three_seeds(runs: Path) -> Path:
    for seed, (independent, lmcl) in enumerate([(70, 72), (71, 74), (72, 73)]):
        write_run(runs, "independent", seed, [independent - 1, independent + 1])
        write_run(runs, "lmcl", seed, [lmcl, lmcl], matching=True)
    return runs


def study_of(runs: Path, seeds: list[int], settings: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> Study:
    planned = []
    for loss in ("independent", "lmcl"):
        for seed in seeds:
            folder = runs / "digits" / "resnet8" / loss / config_hash(config(loss, seed, **settings))
            planned.append(PlannedRun({"loss": loss}, seed, [f"loss={loss}", f"seed={seed}"], folder))
    fields: dict[str, Any] = {
        "name": "two",
        "command": "python sweep.py study=two",
        "title": "Two losses",
        "text": "Which is better?",
        "factors": {"loss": ["independent", "lmcl"]},
        "baseline": {"loss": "independent"},
        "published": [],
        "runs": planned,
    }
    return Study(**{**fields, **changes})
