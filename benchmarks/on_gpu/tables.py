"""Lines that several sections of the page share."""

from collections.abc import Sequence
from typing import Any


def unavailable(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what measured rows could not compare, each reason once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, reason in row["found"]["not_available"].items():
            reasons.setdefault((name, reason), []).append(row["item"])
    lines = [f"- {name} ({', '.join(items)}): {reason}." for (name, reason), items in reasons.items()]
    return ["Not available:", "", *lines, ""] if lines else []
