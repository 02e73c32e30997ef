"""Compose the runs of a study."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcl.config.compose import Composed, composing
from mcl.config.loader import Progress
from mcl.errors import UserError
from mcl.runs.archived import ARCHIVE
from mcl.runs.pair import count_deployed_kinds
from mcl.runs.renames import current_overrides
from mcl.studies.planned_run import PlannedRun
from mcl.studies.teachers import Teacher, find_teacher, runs_of_archive, with_teachers


@dataclass(frozen=True)
class RunComposer:
    """Compose the runs that a page plans.

    Args:
        file: the page, for messages; archived runs lie beside it.
        hold: overrides of every run, teachers included.
        factors: factor -> label -> overrides.
        rows: seed -> rows that have a run of it, each with the label of each factor.
        teachers: name -> overrides.
        extra: overrides of every run, which come last.
    """

    file: Path
    hold: Sequence[str]
    factors: Mapping[str, Mapping[str, list[str]]]
    rows: Mapping[int, Sequence[dict[str, str]]]
    teachers: Mapping[str, list[str]]
    extra: Sequence[str]

    def compose(self) -> Iterator[tuple[PlannedRun, Composed]]:
        """Yield every run of a row with its configuration, seed by seed.

        Raises:
            UserError: an override is invalid, or two rows give the same run.
        """
        runs: dict[Path, PlannedRun] = {}
        progress = Progress(sum(map(len, self.rows.values())))
        archived = runs_of_archive(self.file.parent / ARCHIVE)
        with composing() as compose:
            for seed, rows in self.rows.items():
                teachers = {
                    name: find_teacher(self._run({"teacher": name}, own, seed, {}, compose)[0], archived)
                    for name, own in self.teachers.items()
                }
                for row in rows:
                    varied = [override for name, label in row.items() for override in self.factors[name][label]]
                    run, composed = self._run(row, varied, seed, teachers, compose)
                    if (same := runs.get(run.folder)) is not None:
                        raise UserError(
                            f"{self.file}: {', '.join(same.labels.values())} and {', '.join(row.values())} give the"
                            " same run: two labels mean the same, or an override, fixed or on the command line,"
                            " replaces what varies."
                        )
                    runs[run.folder] = run
                    yield run, composed
                    progress.advance()

    def _run(
        self,
        labels: dict[str, str],
        own: Sequence[str],
        seed: int,
        teachers: Mapping[str, Teacher],
        compose: Callable[[Sequence[str]], Composed],
    ) -> tuple[PlannedRun, Composed]:
        """Compose one run; ``own`` are the overrides that other runs do not have."""
        try:
            taught = with_teachers(current_overrides([*self.hold, *own, f"seed={seed}", *self.extra]), teachers)
            composed = compose([*taught.overrides, *taught.stand_ins])
        except UserError as error:
            name = ", ".join(labels.values()) or self.file.parent.name
            raise UserError(f"{self.file}, {name}: {error}") from error
        kinds = count_deployed_kinds(composed.config.pair)
        run = PlannedRun(labels, seed, taught.overrides, composed.folder, taught.teachers, taught.stand_ins, kinds)
        return run, composed
