"""Files that tests of the HTML page put into run folders."""

import csv
from pathlib import Path
from typing import Any

EVIL = '<script>window.hacked = 1</script><img src="http://example.org/x.png">'


def write_matrix(run: Path, classes: list[str], counts: list[list[Any]], name: str = "first-backbone") -> None:
    folder = run / "evaluation" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"confusion-{name}.csv", "w", newline="") as file:
        body = [[label, *row] for label, row in zip(classes, counts, strict=True)]
        csv.writer(file).writerows([["true / predicted", *classes], *body])
