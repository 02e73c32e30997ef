"""Labels by which a study names its rows."""

from collections.abc import Mapping
from typing import Any

from mcl.errors import UserError, did_you_mean


def label_text(value: Any) -> str:
    """Return a label as text; truth values as Hydra writes them: ``true``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def label_lists(wanted: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return factor -> labels as text, from labels or lists of labels."""
    lists = {factor: label if isinstance(label, list) else [label] for factor, label in wanted.items()}
    return {factor: [label_text(label) for label in labels] for factor, labels in lists.items()}


def has_labels(row: Mapping[str, str], wanted: Mapping[str, list[str]]) -> bool:
    """Return whether a row has one of the labels of each factor."""
    return all(row[factor] in labels for factor, labels in wanted.items())


def check_labels(where: str, given: Mapping[str, Any], labels: Mapping[str, list[str]]) -> None:
    """Raise UserError unless every factor, and its label or list of labels, is one of ``labels``."""
    for factor, chosen in label_lists(given).items():
        if factor not in labels:
            raise UserError(
                f"{where} names {factor}, which does not vary.{did_you_mean(factor, labels)}"
                f" What varies: {', '.join(labels)}."
            )
        if not chosen:
            raise UserError(f"{where}: {factor} has no label: give at least one.")
        for label in chosen:
            if label not in labels[factor]:
                raise UserError(
                    f"{where}: {factor} has no {label}.{did_you_mean(label, labels[factor])}"
                    f" It has {', '.join(labels[factor])}."
                )
