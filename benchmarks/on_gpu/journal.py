"""The results as they arrive: one line of results.jsonl for each item, kept whatever happens next."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import read_records

LINES, RESULTS, PAGE = "results.jsonl", "results.json", "RESULTS.md"
MEASURED, NOT_AVAILABLE, FAILED, SKIPPED = "measured", "not available", "failed", "skipped"
UNREADABLE = (ArithmeticError, LookupError, TypeError, ValueError)  # raised by rows of another version of a part
Row = dict[str, Any]  # item, status, reason, found, seconds, where, code, date


class Journal:
    """The rows of all items in a folder; the last row of an item counts.

    Args:
        folder: made if it does not exist. A line that a kill cut in half is removed.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.rows: dict[str, Row] = {row["item"]: row for row in read_records(folder / LINES)}

    def measured(self, item: str) -> bool:
        """Return whether an item needs no further measurement."""
        return item in self.rows and self.rows[item]["status"] == MEASURED

    def add(self, row: Row) -> None:
        """Append a row; it is on disk when this returns. A measured item is not replaced by one that is not."""
        if self.measured(row["item"]) and row["status"] != MEASURED:
            return
        self.rows[row["item"]] = row
        with open(self.folder / LINES, "a") as file:
            file.write(json.dumps(row) + "\n")

    def other_machine(self, where: Mapping[str, Any]) -> str | None:
        """Return how the machine of the rows so far differs from this one; None if it does not."""
        for row in self.rows.values():
            if row["status"] == MEASURED and row["where"] != where:
                return f"{_words(row['where'])}; this is {_words(where)}"
        return None


def _words(where: Mapping[str, Any]) -> str:
    kind = "a rehearsal on " if where["tiny"] else ""
    return f"{kind}{where['card']} with torch {where['torch']}"
