"""Data of the charts of a page, as plain values for its script."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from mcl.reports.cost_marks import crowded, window
from mcl.reports.cost_plot import cost_panels, has_many_rows
from mcl.reports.matching_maps import NEUTRAL, Strip, axes_of, color_reach, strips
from mcl.reports.page.confusion_matrices import Matrix
from mcl.reports.page.series import ACCURACY, PACE, TERMS, Line, lines, thinned
from mcl.reports.panels import dataset_name, last_epoch, method_name, row_key, row_styles, run_counts
from mcl.reports.row_labels import network_names
from mcl.reports.rows import Row, Rows
from mcl.reports.statistics import estimate
from mcl.runs.reading import Run

MOST_POINTS = 500  # limit for one line
MOST_OF_ALL = 900_000  # points of a page, at about eight bytes each
TOTAL = "total"
UNLIKE_SUMS = "The total is a sum of other terms in each method: compare it within one method, not between methods."
MOST_NAMED = 12  # lines in a description
MOMENTS = 60  # of training, at which a matching heat map can be seen


def charts(rows: Rows, metric: str, matrices: Sequence[Matrix]) -> dict[str, Any]:
    """Return the data of all charts, by the names that the script uses. An empty chart has nothing to show."""
    styles = row_styles(rows)
    groups = rows.groups()
    group_of = {id(row): i for i, group in enumerate(groups.values()) for row in group}
    return {
        "rows": [
            {"key": key or "all runs", "style": asdict(styles[key]), "group": group_of[id(row)]}
            for row in rows.rows
            for key in [row_key(rows, row)]
        ],
        "groups": [{"name": name or "all rows", "about": _about(group)} for name, group in groups.items()],
        **_curves(rows),
        "cost": _cost(rows, metric),
        "matching": _matching(rows),
        "confusion": _confusion(rows, matrices),
    }


def description(chart: str, title: str, values: dict[str, Any]) -> str:
    """Return a chart in words, before a reader has chosen what it shows."""
    if chart == "confusion":
        return f"{title}: {values[chart]['matrices'][0]['about']}."
    first = values[chart][0]
    means = [line for line in first["lines"] if not line["run"]] or first["lines"]
    ends = [f"{values['rows'][line['row']]['key']} ends at {line['y'][-1]}" for line in means[:MOST_NAMED]]
    more = f", and {len(means) - MOST_NAMED} more" if len(means) > MOST_NAMED else ""
    return f"{title}, by epoch: {first['name']}. {', '.join(ends)}{more}."


def _curves(rows: Rows) -> dict[str, Any]:
    """Return ``{"epochs": [[...], ...], "accuracy": [series, ...], "terms": ..., "pace": ...}``.

    A series has a name and lines. A line has the number of its row, the name of its run (null for the mean of the row,
    with the number of its runs), the index of its epochs in the common list, and values.
    """
    by_row = [lines(row) for row in rows.rows]
    count = sum(len(series) for named in by_row for series in named.values())
    most = max(20, min(MOST_POINTS, MOST_OF_ALL // max(1, count)))
    names = dict.fromkeys(name for named in by_row for name in named)
    mixed = len({*map(method_name, rows.rows)}) > 1
    epochs: dict[tuple[float, ...], int] = {}
    series: dict[str, Any] = {chart: [] for chart in (ACCURACY, TERMS, PACE)}
    for chart, name in sorted(names, key=lambda name: ((name[1] == TOTAL) == mixed, "mean of" not in name[1])):
        drawn = [
            _drawn(i, thinned(line, most), epochs)
            for i, named in enumerate(by_row)
            for line in named.get((chart, name), [])
        ]
        if chart == ACCURACY and all(len(line["y"]) < 2 for line in drawn):  # evaluated at the end alone
            continue
        note = UNLIKE_SUMS if mixed and name == TOTAL else ""
        series[chart].append({"name": name, "note": note, "lines": drawn})
    return {"epochs": [[_short(x) for x in line] for line in epochs], **series}


def _drawn(row_number: int, line: Line, epochs: dict[tuple[float, ...], int]) -> dict[str, Any]:
    source = {"run": None, "runs": line.runs} if line.run is None else {"run": _run_name(line.run)}
    x = epochs.setdefault(line.epochs, len(epochs))
    drawn = {"row": row_number, **source, "x": x, "y": [_short(value) for value in line.values]}
    if line.low:
        drawn |= {"low": [_short(value) for value in line.low], "high": [_short(value) for value in line.high]}
    return drawn


def _cost(rows: Rows, metric: str) -> list[dict[str, Any]]:
    numbers = {id(row): i for i, row in enumerate(rows.rows)}
    panels: list[dict[str, Any]] = []
    found = cost_panels(rows, metric)
    for panel, rows_of_panel in [] if has_many_rows(found) else found:
        points = []
        places = crowded([cost for _, cost, _ in rows_of_panel])
        for (row, cost, values), (place, crowd) in zip(rows_of_panel, places, strict=True):
            top1 = estimate(values.values())
            runs = {f"seed {seed}": value for seed, value in values.items()}
            point = {"row": numbers[id(row)], "cost": cost, "place": place, "crowd": crowd}
            points.append({**point, "mean": top1.mean, "half": top1.half_width, "runs": runs})
        limits = window([list(values.values()) for *_, values in rows_of_panel])
        about = panel.caption([row for row, *_ in rows_of_panel], at_end=True)
        panels.append({"name": panel.title, "about": about, "window": limits, "points": points})
    return panels


def _matching(rows: Rows) -> dict[str, Any] | None:
    drawn = [strip for row in rows.rows for strip in strips(rows, row, MOMENTS)]
    if not drawn:
        return None
    return {"neutral": NEUTRAL, "reach": color_reach(drawn), "strips": [_strip(strip) for strip in drawn]}


def _strip(strip: Strip) -> dict[str, Any]:
    down, across = axes_of(weights for _, weights in strip.moments)
    return {
        "name": ": ".join(filter(None, [strip.title, " and ".join(strip.networks)])),
        "networks": strip.networks,
        "heading": strip.heading,
        "down": [stage.split(".")[1] for stage in down],
        "across": [stage.split(".")[1] for stage in across],
        "moments": [
            {"epoch": epoch, "weights": [[_short(weights.get((a, b))) for b in across] for a in down]}
            for epoch, weights in strip.moments
        ],
    }


def _confusion(rows: Rows, matrices: Iterable[Matrix]) -> dict[str, Any] | None:
    names = {
        id(run): ", ".join(filter(None, [rows.name(row), _run_name(run)])) for row in rows.rows for run in row.runs
    }
    row_of = {id(run): row for row in rows.rows for run in row.runs}
    classes: dict[tuple[str, ...], int] = {}
    drawn = [
        {
            "run": names[id(matrix.run)],
            "head": matrix.head,
            "about": _about_matrix(row_of[id(matrix.run)], matrix),
            "classes": classes.setdefault(matrix.classes, len(classes)),
            "counts": matrix.counts,
        }
        for matrix in matrices
    ]
    return {"classes": list(classes), "matrices": drawn} if drawn else None


def _about(group: Sequence[Row]) -> str:
    """Return the data and the number of runs of some rows."""
    finished = [row for row in group if row.finished]
    return f"{dataset_name(finished)}, n = {run_counts(finished)} a row" if finished else ""


def _about_matrix(row: Row, matrix: Matrix) -> str:
    """Return network, method, data, epoch and number of images of a confusion matrix."""
    names = network_names(matrix.run.config)
    head = " ".join(f"{word} ({names[word]})" if word in names else word for word in matrix.head.split(" "))
    about = [head, method_name(row), dataset_name([row])]
    if "step" not in matrix.head and (epoch := last_epoch([row])):
        about.append(f"epoch {epoch}")
    return ", ".join([*filter(None, about), f"n = {sum(map(sum, matrix.counts)):,} images"])


def _run_name(run: Run) -> str:
    standing = "" if run.has_curve else " (incomplete metrics.jsonl)" if run.finished else f" ({run.status})"
    return f"seed {run.seed}{standing}"


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
