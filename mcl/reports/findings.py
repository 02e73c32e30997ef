"""The findings of a report in words: one sentence for each comparison."""

from collections.abc import Sequence

from mcl.console import pluralize
from mcl.reports.accuracy_tables import key
from mcl.reports.comparisons import Difference
from mcl.reports.equal_cost import cost_ratio
from mcl.reports.markdown import cell, interval, percent, signed
from mcl.reports.rows import METRICS, Rows


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
    about = [f"n = {found.count}"]
    if found.interval:
        about.insert(0, f"95 % interval {interval(found, difference=True)}")
    ratio = cost_ratio(one.row, one.other)
    cost = f", at {ratio:.2f} × its cost" if ratio else ""
    verdict = "a difference is shown" if one.is_finding else f"a difference is not shown{could_show(one)}"
    against = cell(rows.name(one.other, rows.compared) or rows.name(one.other))
    return f"{name}: {signed(found.mean)} points against {against} ({', '.join(about)}){cost}; {verdict}."


def could_show(one: Difference) -> str:
    """Return the rest of a sentence on a difference that is not shown: how large it would have to be."""
    if one.detectable is None:
        return ""
    return f" (one of {percent(one.detectable)} points would be, in four of five such studies)"
