"""Labels by which a study names its rows."""

from collections.abc import Mapping
from typing import Any

from mcl.errors import UserError, did_you_mean


def label_text(value: Any) -> str:
    """Return a label as text; truth values as Hydra writes them: ``true``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_labels(where: str, given: Mapping[str, Any], labels: Mapping[str, list[str]]) -> None:
    """Raise UserError unless every factor and label in ``given`` is one of ``labels``."""
    for factor, label in given.items():
        if factor not in labels:
            raise UserError(
                f"{where} names {factor}, which does not vary.{did_you_mean(factor, labels)}"
                f" What varies: {', '.join(labels)}."
            )
        if label_text(label) not in labels[factor]:
            raise UserError(
                f"{where}: {factor} has no {label}.{did_you_mean(label_text(label), labels[factor])}"
                f" It has {', '.join(labels[factor])}."
            )
