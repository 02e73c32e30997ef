"""The objective of a search: an accuracy of the validation split. The test split must not choose."""

from collections.abc import Mapping
from typing import Any

from mcl.errors import UserError, unknown

NAMES = ("validation/top1_last", "validation/top1_best")


def check(name: str) -> None:
    """Raise UserError unless ``name`` is one of `NAMES`."""
    if name.startswith("test"):
        raise UserError(
            f"objective={name}: settings chosen on the test split make its accuracy too good to be true, so a search"
            f" maximises one of {', '.join(NAMES)}."
        )
    if name not in NAMES:
        raise unknown("objective", f"objective={name}", NAMES)


def value(summary: Mapping[str, Any], name: str) -> float | None:
    """Return the objective of a finished run, the mean over the networks that it deploys, in percent.

    Args:
        summary: the contents of ``summary.json``.
        name: one of `NAMES`.

    Returns:
        None without a validation split.
    """
    networks = [each for each in summary["networks"] if each.get("key") in summary.get("deployed", [each.get("key")])]
    accuracies = [network.get(name.replace("/", "_")) for network in networks]
    return None if None in accuracies else float(sum(accuracies) / len(accuracies))
