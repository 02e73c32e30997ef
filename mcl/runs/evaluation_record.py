"""The record of an evaluation: which images, which weights, which changed settings."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs.layout import CONFUSION, PER_CLASS, RECORD, SCORES
from mcl.untrusted.limits import MAX_JSON
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.text import decode_json

MAX_CHANGES = 3  # changed settings listed in a description


@dataclass(frozen=True)
class EvaluationRecord:
    """The record of one ``python -m mcl evaluate``.

    Args:
        split: ``test``, ``validation`` or ``train``.
        weights: ``last`` or ``best``.
        step: step of the checkpoint.
        finished: whether training had ended with this checkpoint.
        data: fingerprint of the images.
        other_images: whether the images are not those of the run.
        changes: settings that differ from the run's and can change the numbers, ``"dataset.limit: None -> 5"``.
        overrides: overrides of the evaluation.
        code: version, commit and state of the code that evaluated.
        date: date in UTC, as ISO 8601.
        run: hash of the run; empty if it is unknown.
    """

    split: str
    weights: str
    step: int
    finished: bool
    data: str
    other_images: bool
    changes: Sequence[str]
    overrides: Sequence[str]
    code: Mapping[str, Any]
    date: str
    run: str = ""

    @property
    def folder_name(self) -> str:
        """The folder for the results: ``test``, ``train-best``, ``test-step-11``, ``test-1f5a09c2``.

        A bare split stands for the run's own images, under its own settings, after its last step.
        """
        parts = [self.split]
        if self.weights != "last":
            parts.append(self.weights)
        if not self.finished:
            parts.append(f"step-{self.step}")
        if self.other_images or self.changes:
            text = json.dumps([self.data, *self.changes])
            parts.append(hashlib.sha256(text.encode()).hexdigest()[:8])
        return "-".join(parts)

    def deviations(self, steps: int | None = None) -> list[str]:
        """Describe how this evaluation differs from one of the run's own images after its last step.

        Args:
            steps: number of steps of the whole run, if known.
        """
        deviations = []
        if not self.finished or (steps is not None and steps != self.step):
            deviations.append(f"step {self.step:,}")
        if self.other_images:
            deviations.append("other images")
        deviations += self.changes[:MAX_CHANGES]
        if len(self.changes) > MAX_CHANGES:
            deviations.append(f"{len(self.changes) - MAX_CHANGES} more settings")
        return deviations

    def write(self, folder: Path) -> None:
        """Write ``evaluation.json``.

        Raises:
            UserError: The file cannot be written.
        """
        write_atomically(folder / RECORD, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")


def read_record(folder: Path) -> EvaluationRecord | None:
    """Return the record in a folder of results; None if there is none, as for the evaluation at the end of training.

    Raises:
        UserError: The file is damaged.
    """
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        values = decode_json(read_bytes(file, MAX_JSON), RECORD)
        return EvaluationRecord(
            split=str(values["split"]),
            weights=str(values["weights"]),
            step=int(values["step"]),
            finished=bool(values["finished"]),
            data=str(values["data"]),
            other_images=bool(values["other_images"]),
            changes=[str(change) for change in values["changes"]],
            overrides=[str(override) for override in values["overrides"]],
            code=dict(values["code"]),
            date=str(values["date"]),
            run=str(values.get("run", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{file} is not a record of an evaluation.") from error


def remove_evaluation(folder: Path) -> None:
    """Remove the results of an evaluation from a folder, and no other file."""
    for file in [folder / RECORD, folder / SCORES, folder / PER_CLASS, *folder.glob(f"{CONFUSION}*.*")]:
        if file.suffix in (".json", ".csv", ".png"):
            file.unlink(missing_ok=True)
