"""The claim of a study: a method is better than its baseline."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from omegaconf import MISSING

from mcl.errors import UserError
from mcl.studies.labels import check_labels


@dataclass
class Claim:
    """The rows that decide whether a method is better than its baseline, and why. Each is named by its labels.

    Args:
        method: the row in question.
        equal_cost: the baseline, trained for as long as the method costs; empty if the study has none.
        tuned: the baseline, with its own settings tuned; empty if the study has none, and the labels of the baseline if
            it is tuned itself. May name further factors, such as the one whose label says that settings are tuned.
        ablations: question -> rows that answer it: the method with one thing changed.
    """

    method: dict[str, str] = MISSING
    equal_cost: dict[str, str] = field(default_factory=dict)
    tuned: dict[str, str] = field(default_factory=dict)
    ablations: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    @property
    def controls(self) -> dict[str, dict[str, str]]:
        """The baselines that a gain has to survive, by what they control for."""
        return {name: row for name, row in (("equal cost", self.equal_cost), ("tuned", self.tuned)) if row}

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        """The rows that it names, by their places in ``study.yaml``."""
        controls = {f"claim.{name.replace(' ', '_')}": row for name, row in self.controls.items()}
        answers = {
            f"claim.ablations.{question}, {i}": row
            for question, rows in self.ablations.items()
            for i, row in enumerate(rows, 1)
        }
        return {"claim.method": self.method, **controls, **answers}


def check_claim(where: str, claim: Claim, baseline: Mapping[str, str], labels: Mapping[str, list[str]]) -> None:
    """Check that the rows of a claim exist, are different, and are named by the factors of the baseline.

    Raises:
        UserError: There is no baseline, a row does not exist or names other factors, or a row repeats the method or,
            unless it is ``tuned``, the baseline.
    """
    if not baseline:
        raise UserError(f"{where}: claim needs a baseline, such as baseline: {{loss: independent}}.")
    rows = {name: row for name, row in claim.rows.items() if (name, row) != ("claim.tuned", baseline)}
    named: dict[tuple[str, ...], str] = {tuple(str(label) for label in baseline.values()): "baseline"}
    for name, row in rows.items():
        check_labels(f"{where}: {name}", row, labels)
        further = set(row) - set(baseline) if name == "claim.tuned" else set()
        if set(row) != set(baseline) | further:
            raise UserError(f"{where}: {name} must name the factors of the baseline: {', '.join(baseline)}.")
        labeled = tuple(str(row[factor]) for factor in [*baseline, *sorted(further)])
        if (other := named.get(labeled)) in ("baseline", "claim.method"):
            raise UserError(f"{where}: {name} and {other} are the same row.")
        named[labeled] = name
