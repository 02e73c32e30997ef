"""Rows that a study leaves out, with all seeds or with some."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcl.errors import UserError
from mcl.studies.labels import check_labels, has_labels, label_lists

SEED = "seed"


@dataclass(frozen=True)
class Skipped:
    """Combinations of labels that a study leaves out.

    Args:
        labels: factor -> labels.
        kept: the seeds that have a run all the same.
    """

    labels: dict[str, list[str]]
    kept: list[int]

    def leaves_out(self, row: Mapping[str, str], seed: int) -> bool:
        """Return whether a row has no run of a seed."""
        return has_labels(row, self.labels) and seed not in self.kept


def skipped_of(
    file: Path, skip: Iterable[Mapping[str, Any]], labels: Mapping[str, list[str]], seeds: Sequence[int]
) -> list[Skipped]:
    """Return what a page skips.

    Args:
        file: the page, for messages.
        skip: labels, or lists of labels, by factor; ``seed`` stands for seeds.
        labels: factor -> all its labels.
        seeds: all seeds of the page.

    Raises:
        UserError: a factor, a label or a seed is unknown.
    """
    found = []
    for each in skip:
        wanted = label_lists({factor: label for factor, label in each.items() if factor != SEED})
        check_labels(f"{file}: skip", wanted, labels)
        kept: list[int] = []
        if SEED in each:
            given = each[SEED]
            skipped_seeds = list(given) if isinstance(given, list) else [given]
            if not skipped_seeds:
                raise UserError(f"{file}: skip: seed is an empty list: leave it out to skip all seeds.")
            for seed in skipped_seeds:
                if seed not in seeds:
                    raise UserError(f"{file}: skip: seeds has no {seed}. It has {', '.join(map(str, seeds))}.")
            kept = [seed for seed in seeds if seed not in skipped_seeds]
        found.append(Skipped(wanted, kept))
    return found
