"""The teachers of a study: runs that are trained before its rows, and give their networks weights.

The weights that a network starts from are part of the identity of a run, by their checksum. A run whose teacher is not
trained yet has a stand-in for it, and so another folder than it will have.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcl.config.quoting import quoted
from mcl.errors import UserError, unknown
from mcl.runs.archived import archived_runs
from mcl.runs.checkpoint_files import checkpoint_of, read_checksum
from mcl.runs.reading import Run, read_run
from mcl.studies.planned_run import PlannedRun

CHECKPOINT = "checkpoint"  # in summary.json: the checksum of the last checkpoint
_USE = re.compile(r"(\+{0,2})(pair\.(\w+)\.weights)=\{([^{}]*)\}")  # pair.second.weights={resnet110}


@dataclass(frozen=True)
class Teacher:
    """A run whose network teaches in rows of a study."""

    run: PlannedRun
    checksum: str  # of its weights, or what stands for it
    is_here: bool  # whether the run is finished, and its weights are in its folder


@dataclass(frozen=True)
class WithTeachers:
    """Overrides of a run in which folders stand in place of the names of teachers."""

    overrides: list[str]
    teachers: dict[str, PlannedRun]  # by option, such as ``pair.second.weights``
    stand_ins: tuple[str, ...]  # overrides that a run whose teachers are not here is composed with


def find_teacher(run: PlannedRun, archived: Callable[[], Mapping[str, Run]]) -> Teacher:
    """Return a teacher with the checksum of its weights.

    Args:
        run: its run, finished or not.
        archived: returns archived runs by their hash; called if the run is not finished here.
    """
    found = read_run(run.folder)
    if found.finished and (checksum := read_checksum(checkpoint_of(run.folder))) is not None:
        return Teacher(run, checksum, True)
    if not found.finished:
        found = archived().get(run.folder.name, found)
    recorded = found.summary.get(CHECKPOINT) if found.finished else None
    return Teacher(run, str(recorded or f"run_{run.folder.name}"), False)


def runs_of_archive(archive: Path) -> Callable[[], Mapping[str, Run]]:
    """Return a function that reads the runs of an archive, by their hash, the first time it is called."""

    @functools.cache
    def read() -> Mapping[str, Run]:
        if not archive.is_file():
            return {}
        with archived_runs(archive) as runs:
            return {run.folder.name: run for run in runs}

    return read


def with_teachers(overrides: Sequence[str], teachers: Mapping[str, Teacher]) -> WithTeachers:
    """Replace ``{NAME}`` in ``pair.NETWORK.weights={NAME}`` by the folder of a teacher.

    Raises:
        UserError: There is no such teacher, or another option names one.
    """
    filled, used, checksums, all_here = [], {}, {}, True
    for override in overrides:
        match = _USE.fullmatch(override)
        if match is None:
            if named := [name for name in teachers if f"{{{name}}}" in override]:
                raise UserError(f"{override}: {{{named[0]}}} is a teacher: its place is pair.NETWORK.weights.")
            filled.append(override)
            continue
        plus, option, key, name = match.groups()
        if name not in teachers:
            raise unknown("teacher", f"{option}={name}", teachers)
        teacher = teachers[name]
        filled.append(f"{plus}{option}={quoted(str(teacher.run.folder))}")
        used[option] = teacher.run
        checksums[key] = teacher.checksum
        all_here &= teacher.is_here
    values = ", ".join(f'{key}: "{checksum}"' for key, checksum in checksums.items())
    return WithTeachers(filled, used, () if all_here else (f"weights_checksums={{{values}}}",))
