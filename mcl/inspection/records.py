"""An inspection as JSON, and its findings as a CSV file of one line per file."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from mcl.inspection.inspection import Inspection
from mcl.inspection.problems import Finding
from mcl.untrusted.spreadsheet import without_formulas

COLUMNS = ("finding", "file", "split", "class", "detail")


def as_json(inspection: Inspection, found: Sequence[Finding]) -> str:
    """Return everything that was found, with each file of each finding, as JSON."""
    files, mean_and_deviation = inspection.files, inspection.mean_and_deviation
    record: dict[str, Any] = {
        "folder": str(files.root),
        "refused": files.refused or None,
        "note": files.note or None,
        "counts": inspection.counts,
        "ignored": files.ignored,
        "mean": mean_and_deviation[0],
        "std": mean_and_deviation[1],
        "findings": [
            {"kind": kind, "text": text, "files": [dict(zip(COLUMNS[1:], row, strict=True)) for row in rows]}
            for kind, text, rows in ((each.kind, each.text, _rows(inspection, each)) for each in found)
        ],
        "groups": [
            {"files": [files.paths[i] for i in group], "same_pixels": len({inspection.pixels[i] for i in group}) == 1}
            for group in inspection.groups
        ],
        "pictures": [
            {
                "file": files.paths[i],
                "split": files.splits[i],
                "class": files.classes[i],
                "width": facts.width,
                "height": facts.height,
                "mode": facts.mode,
                "format": facts.format,
                "rotated": facts.rotated,
            }
            for i, facts in inspection.scan.pictures.items()
        ],
    }
    return json.dumps(record, indent=1) + "\n"


def as_csv(inspection: Inspection, found: Sequence[Finding]) -> str:
    """Return a line for each file of each finding. A text that a spreadsheet would compute begins with ``'``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for finding in found:
        writer.writerows(without_formulas([finding.kind, *row]) for row in _rows(inspection, finding))
    return text.getvalue()


def _rows(inspection: Inspection, finding: Finding) -> list[list[str]]:
    """Return file, split, class and detail of each file of a finding."""
    files = inspection.files
    return [[files.paths[i], files.splits[i], files.classes[i], detail] for i, detail in finding.files]
