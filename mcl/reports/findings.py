"""The findings of a report in words: a sentence for each comparison, or, of many, for each that shows a difference."""

from collections.abc import Sequence

from mcl.console import pluralize
from mcl.reports.accuracy_tables import key
from mcl.reports.comparisons import Difference
from mcl.reports.equal_cost import cost_ratio
from mcl.reports.markdown import cell, interval, percent, signed
from mcl.reports.panels import row_key
from mcl.reports.rows import METRICS, Rows

MOST_SENTENCES = 8


def findings(rows: Rows, differences: Sequence[Difference], metric: str) -> list[str]:
    """Return a section that says what the runs show: for each comparison the difference, its interval and the cost."""
    if not differences:
        return []
    shown = sum(one.is_finding for one in differences)
    told = [one for one in differences if one.is_finding or len(differences) <= MOST_SENTENCES]
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
        *(f"- {_sentence(rows, one)}" for one in told),
        *_others(rows, [one for one in differences if one not in told]),
        "",
    ]


def _others(rows: Rows, differences: Sequence[Difference]) -> list[str]:
    """Return a line on differences that have no sentence of their own: the lowest and the highest."""
    known = [one for one in differences if one.comparison.difference.mean is not None]
    if not known:
        return []
    ends = sorted(known, key=lambda one: one.comparison.difference.mean or 0.0)
    low, high = (
        f"{signed(one.comparison.difference.mean)} ({cell(key(rows, one.row, one.network))})"
        for one in (ends[0], ends[-1])
    )
    return [f"- {pluralize(len(known), 'difference')} not shown: from {low} to {high}."]


def _sentence(rows: Rows, one: Difference) -> str:
    found = one.comparison.difference
    name = cell(key(rows, one.row, one.network))
    if found.mean is None:
        return f"{name}: not shown, {one.conclusion}."
    about = [f"n = {found.count}"]
    if found.interval:
        about.insert(0, f"95 % interval {interval(found, difference=True)}")
    ratio = cost_ratio(one.row, one.other)
    cost = f", at {ratio:.2f} × its cost" if ratio else ""
    verdict = "a difference is shown" if one.is_finding else f"a difference is not shown{could_show(one)}"
    against = cell(row_key(rows, one.other))
    return f"{name}: {signed(found.mean)} points against {against} ({', '.join(about)}){cost}; {verdict}."


def could_show(one: Difference) -> str:
    """Return the rest of a sentence on a difference that is not shown: how large it would have to be."""
    if one.detectable is None:
        return ""
    return f" (one of {percent(one.detectable)} points would be, in four of five such studies)"
