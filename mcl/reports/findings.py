"""The findings of a report in words: one sentence for each comparison."""

from collections.abc import Sequence

from mcl.console import pluralize
from mcl.reports.accuracy_tables import key
from mcl.reports.comparisons import Difference
from mcl.reports.equal_cost import mean_training_cost
from mcl.reports.markdown import cell, interval, signed
from mcl.reports.rows import METRICS, Row, Rows


def findings(rows: Rows, differences: Sequence[Difference], metric: str) -> list[str]:
    """Return a section that says what the runs show: for each comparison the difference, its interval and the cost."""
    if not differences:
        return []
    shown = sum(one.is_finding for one in differences)
    summary = (
        f"{shown} of {pluralize(len(differences), 'comparison')} with the baseline"
        f" {'show' if shown > 1 else 'shows'} a difference."
        if shown
        else f"No difference is shown in {pluralize(len(differences), 'comparison')} with the baseline."
    )
    return [
        "## What these runs show",
        "",
        f"{summary} Differences are in points of test top-1 ({METRICS[metric]}), n is the number of pairs of runs, and"
        " cost counts the multiply-adds of training.",
        "",
        *(f"- {_sentence(rows, one)}" for one in differences),
        "",
    ]


def _sentence(rows: Rows, one: Difference) -> str:
    found = one.comparison.difference
    name = cell(key(rows, one.row, one.network))
    if found.mean is None:
        return f"{name}: not shown, {one.conclusion}."
    baseline = rows.baselines_of(one.row)[0]
    about = [f"n = {found.count}"]
    if found.interval:
        about.insert(0, f"95 % interval {interval(found, difference=True)}")
    ratio = _cost_ratio(one.row, baseline)
    cost = f", at {ratio:.2f} × its cost" if ratio else ""
    verdict = "a difference is shown" if one.is_finding else "a difference is not shown"
    against = cell(rows.name(baseline, rows.compared) or rows.name(baseline))
    return f"{name}: {signed(found.mean)} points against {against} ({', '.join(about)}){cost}; {verdict}."


def _cost_ratio(row: Row, baseline: Row) -> float | None:
    cost, base = mean_training_cost(row), mean_training_cost(baseline)
    return cost / base if cost and base else None
