"""Data of the page's charts, as plain values for its script."""

from collections.abc import Iterable, Sequence
from typing import Any

from mcl.reports.matching_maps import NEUTRAL, Strip, colour_reach, strips
from mcl.reports.page.confusion_matrices import Matrix
from mcl.reports.page.series import ACCURACY, PACE, TERMS, Line, lines, thinned
from mcl.reports.plots import aside, cost_panels, row_key, style_numbers, window
from mcl.reports.rows import Rows
from mcl.reports.statistics import estimate
from mcl.runs.reading import Run

MOST_POINTS = 500  # of a line
MOST_OF_ALL = 900_000  # points of a page, at about eight bytes each
MOMENTS = 60  # at which a matching heat map can be seen


def charts(rows: Rows, metric: str, matrices: Sequence[Matrix]) -> dict[str, Any]:
    """All of them, by the names that the script knows. A chart that has nothing to show is empty."""
    numbers = style_numbers(rows)
    groups = list(rows.groups())
    group_of = {id(row): i for i, group in enumerate(rows.groups().values()) for row in group}
    return {
        "rows": [
            {"key": row_key(rows, row) or "all runs", "style": number, "group": group_of[id(row)]}
            for row, number in zip(rows.rows, numbers, strict=True)
        ],
        "groups": [name or "all rows" for name in groups],
        **_curves(rows),
        "cost": _cost(rows, metric),
        **_matching(rows),
        **_confusion(rows, matrices),
    }


def _curves(rows: Rows) -> dict[str, Any]:
    """``{"epochs": [[...], ...], "accuracy": [series, ...], "terms": ..., "pace": ...}``.

    A series has a name and lines; a line has the number of its row, its run by name (null for the mean of the row, with
    how many runs it is of), the number of its epochs in the common list, and values.
    """
    of_rows = [lines(row) for row in rows.rows]
    count = sum(len(found) for of in of_rows for found in of.values())
    most = max(20, min(MOST_POINTS, MOST_OF_ALL // max(1, count)))
    epochs: dict[tuple[float, ...], int] = {}
    found: dict[str, Any] = {chart: [] for chart in (ACCURACY, TERMS, PACE)}
    for chart, name in _in_order(of_rows):
        drawn = [
            _drawn(i, thinned(line, most), epochs) for i, of in enumerate(of_rows) for line in of.get((chart, name), [])
        ]
        found[chart].append({"name": name, "lines": drawn})
    return {"epochs": [[_short(x) for x in of] for of in epochs], **found}


def _in_order(of_rows: Sequence[dict[tuple[str, str], Any]]) -> list[tuple[str, str]]:
    """Every series, those that are means over networks first."""
    names = dict.fromkeys(name for of in of_rows for name in of)
    return sorted(names, key=lambda name: (name[1] != "total", "mean of" not in name[1]))


def _drawn(row_number: int, line: Line, epochs: dict[tuple[float, ...], int]) -> dict[str, Any]:
    found: dict[str, Any] = {"row": row_number, "run": None if line.run is None else _run_name(line.run)}
    if line.run is None:
        found["runs"] = line.runs
    found["x"] = epochs.setdefault(line.epochs, len(epochs))
    found["y"] = [_short(value) for value in line.values]
    return found


def _cost(rows: Rows, metric: str) -> list[dict[str, Any]]:
    numbers = {id(row): i for i, row in enumerate(rows.rows)}
    return [
        {
            "name": title,
            "window": window([list(values.values()) for *_, values in points]),
            "points": [
                {
                    "row": numbers[id(row)],
                    "cost": cost,
                    "aside": shift,
                    "mean": (of := estimate(list(values.values()))).mean,
                    "half": of.half_width,
                    "runs": {f"seed {seed}": value for seed, value in values.items()},
                }
                for (row, cost, values), shift in zip(points, aside([cost for _, cost, _ in points]), strict=True)
            ],
        }
        for title, points in cost_panels(rows, metric)
    ]


def _matching(rows: Rows) -> dict[str, Any]:
    found = [strip for row in rows.rows for strip in strips(rows, row, MOMENTS)]
    if not found:
        return {"matching": None}
    reach = colour_reach(found)
    return {"matching": {"neutral": NEUTRAL, "reach": reach, "strips": [_strip(strip) for strip in found]}}


def _strip(strip: Strip) -> dict[str, Any]:
    title, networks, moments = strip
    down, across = (list(dict.fromkeys(places[side] for _, of in moments for places in of)) for side in (0, 1))
    return {
        "name": ": ".join(filter(None, [title, " and ".join(networks)])),
        "networks": networks,
        "down": [place.split(".")[1] for place in down],
        "across": [place.split(".")[1] for place in across],
        "moments": [
            {"epoch": epoch, "weights": [[_short(weights.get((a, b))) for b in across] for a in down]}
            for epoch, weights in moments
        ],
    }


def _confusion(rows: Rows, matrices: Iterable[Matrix]) -> dict[str, Any]:
    names = {
        id(run): ", ".join(filter(None, [rows.name(row), _run_name(run)])) for row in rows.rows for run in row.runs
    }
    classes: dict[tuple[str, ...], int] = {}
    found = [
        {
            "run": names[id(matrix.run)],
            "head": matrix.head,
            "classes": classes.setdefault(matrix.classes, len(classes)),
            "counts": matrix.counts,
        }
        for matrix in matrices
    ]
    return {"confusion": {"classes": list(classes), "matrices": found} if found else None}


def _run_name(run: Run) -> str:
    standing = "" if run.has_curve else " (incomplete metrics.jsonl)" if run.finished else f" ({run.status})"
    return f"seed {run.seed}{standing}"


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
