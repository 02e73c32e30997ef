"""Accuracy against the cost of training: a few rows as marks in one plot, many rows as lines of two."""

from collections.abc import Sequence

from mcl.reports.cost_lines import line_figure
from mcl.reports.cost_marks import Point, cost_figure
from mcl.reports.equal_cost import mean_training_cost
from mcl.reports.figures import Picture, alternative_text, files
from mcl.reports.markdown import count, interval, listed, percent
from mcl.reports.panels import Panel, panels_of, row_key
from mcl.reports.rows import METRICS, Rows
from mcl.reports.statistics import estimate

MOST_MARKS = 8  # rows in one plot; more would cover each other
_MARKS = (
    "All stand at their true cost: where rows cost the same, their bars lie over one another, the narrower in front,"
    " and a thin line leads from each mark to its name. A bar that reaches the frame continues beyond it."
)
_LINES = "Rows are in the order of their cost, which is on the right."


def against_cost(rows: Rows, metric: str, formats: Sequence[str]) -> Picture | None:
    """Draw one mark per row with its interval, and one dash per run, by the multiply-adds of training."""
    panels = cost_panels(rows, metric)
    if not panels:
        return None
    many = has_many_rows(panels)
    texts = []
    for panel, points in panels:
        marks = [
            f"{row_key(rows, row)} {percent(top1.mean)} (95 % interval {interval(top1)}) at {count(cost)}"
            for row, cost, values in points
            for top1 in [estimate(values.values())]
        ]
        texts.append(f"{panel.title}: {listed(marks)}")
    return Picture(
        "cost",
        "Accuracy against cost",
        alternative_text(
            f"Test top-1 in percent ({METRICS[metric]}) against multiply-adds of training, one mark per row.", texts
        ),
        f"Accuracy is that of the {METRICS[metric]}. Marks are means over runs, bars are 95 % intervals of the mean,"
        f" short dashes are single runs. {_LINES if many else _MARKS}",
        files((line_figure if many else cost_figure)(rows, panels), formats),
    )


def cost_panels(rows: Rows, metric: str) -> list[tuple[Panel, list[Point]]]:
    """Return the panels in which rows have a cost and an accuracy, with their points."""
    panels = []
    for panel in panels_of(rows, metric):
        points = [
            (row, cost, values)
            for row in panel.rows
            if (cost := mean_training_cost(row)) and (values := row.values(metric)[panel.network])
        ]
        if points:
            panels.append((panel, points))
    return panels


def has_many_rows(panels: Sequence[tuple[Panel, list[Point]]]) -> bool:
    """Return whether marks in one plot would cover each other, so that each row has a line."""
    return max((len(points) for _, points in panels), default=0) > MOST_MARKS
