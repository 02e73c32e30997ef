"""Differences between rows in a report: from the baseline, and from the rows that change one thing of a method."""

from collections.abc import Mapping, Sequence

from mcl.console import pluralize
from mcl.reports.accuracy_tables import key, key_header
from mcl.reports.comparisons import ALPHA, Comparisons, Difference
from mcl.reports.markdown import NONE, cell, interval, listed, percent, probability, signed
from mcl.reports.rows import Rows
from mcl.reports.tables import Table

HEADERS = ("difference", "95 % interval", "pairs", "p", "p (Holm)", "d_z", "detectable")


def baseline_table(rows: Rows, differences: Sequence[Difference]) -> Table:
    """Return every row against its baseline."""
    body = [[key(rows, one.row, one.network), *_numbers(one), one.conclusion] for one in differences]
    caption = (
        f"Each row minus the row with {_labels(rows.baseline)} that is otherwise equal, in percentage points, paired by"
        " seed."
    )
    headers = [key_header(rows), *HEADERS, "conclusion"]
    return Table("differences", caption, headers, body, closing=1, explanation=_explanation(differences))


def ablation_table(rows: Rows, question: str, differences: Sequence[Difference], gains: Sequence[Difference]) -> Table:
    """Return the method against the rows that answer a question.

    Args:
        rows: rows of the report.
        question: such as ``"terms of the loss"``.
        differences: the method minus each of the rows.
        gains: every row minus its baseline.
    """
    over_baseline = {(id(gain.row), gain.network): gain.comparison.difference.mean for gain in gains}
    body = [
        [
            key(rows, one.other, one.network),
            signed(over_baseline.get((id(one.other), one.network))),
            *_numbers(one),
            one.conclusion,
        ]
        for one in differences
    ]
    name = "ablation-" + "".join(letter if letter.isalnum() else "-" for letter in question.lower())
    caption = (
        f"{question[:1].upper()}{question[1:]}: each row over the baseline, and the method minus the row, in percentage"
        " points, paired by seed."
    )
    headers = [key_header(rows), "over the baseline", f"method − row, {HEADERS[0]}", *HEADERS[1:], "conclusion"]
    return Table(name, caption, headers, body, closing=1, explanation=_explanation(differences))


def difference_section(rows: Rows, comparisons: Comparisons) -> list[str]:
    """Return the section that compares every row with its baseline."""
    lines = ["## Differences from the baseline", ""]
    if not rows.baseline:
        return [*lines, "There is no baseline: `--baseline FACTOR=LABEL` names one.", ""]
    found = baseline_table(rows, comparisons.baseline)
    lines += [cell(found.caption), ""]
    if comparisons.baseline:
        lines += found.in_markdown()
        lines += _how_compared(rows, comparisons)
    left_out = [f"{rows.name(one.row)}, {one.network}: {one.left_out}." for one in comparisons.baseline if one.left_out]
    if left_out:
        lines += [
            "Left out, because no run of the other side has the seed:",
            "",
            *(f"- {cell(line)}" for line in left_out),
            "",
        ]
    if comparisons.notes:
        lines += [*(f"- {cell(note)}" for note in comparisons.notes), ""]
    return lines


def ablation_section(rows: Rows, comparisons: Comparisons) -> list[str]:
    """Return the section on what the gain of a method comes from: one table for each question of the study."""
    tables = ablation_tables(rows, comparisons)
    if rows.claim is None or not tables:
        return []
    method = rows.claim.method
    lines = [
        "## Where the gain comes from",
        "",
        f"The method ({cell(_labels(method))}) minus rows in which one thing of it is changed: a positive difference is"
        " what that thing adds. Columns as in the table above.",
        "",
    ]
    for question, one in tables.items():
        lines += [f"### {cell(question[:1].upper() + question[1:])}", "", *one.in_markdown()]
    return lines


def ablation_tables(rows: Rows, comparisons: Comparisons) -> dict[str, Table]:
    """Return the table of each question that has runs."""
    return {
        question: ablation_table(rows, question, differences, comparisons.baseline)
        for question, differences in comparisons.ablations.items()
        if differences
    }


def _numbers(one: Difference) -> list[str]:
    found = one.comparison.difference
    return [
        signed(found.mean),
        interval(found, difference=True),
        str(len(one.comparison.seeds)),
        probability(one.comparison.p),
        probability(one.holm),
        signed(one.comparison.effect),
        NONE if one.detectable is None else f"±{percent(one.detectable)}",
    ]


def _explanation(differences: Sequence[Difference]) -> str:
    """Return what the columns mean, in short; rows may differ in the family that they are corrected with."""
    families = listed(sorted({one.family for one in differences}))
    return (
        f"p: paired t-test, two-sided; p (Holm): corrected over {families} comparisons, a finding if below {ALPHA:g};"
        " d_z: mean over deviation of the differences; detectable: what four of five such studies would show."
    )


def _labels(labels: Mapping[str, str]) -> str:
    return listed(f"{factor} = {label}" for factor, label in labels.items())


def _how_compared(rows: Rows, comparisons: Comparisons) -> list[str]:
    differences = comparisons.baseline
    tested = [one for one in differences if one.comparison.p is not None]
    if not tested:
        return ["There is no test: it needs at least two pairs of runs whose differences are not all equal.", ""]
    pairs = [len(one.comparison.seeds) for one in tested]
    lines = [
        f"p: paired t-test, two-sided; {_correction(rows, tested)}. The interval is that of one comparison, without"
        " correction. d_z: Cohen's d of paired differences, their mean divided by their deviation; a few runs give only"
        " a rough value. Detectable: the true difference, up or down, that as many pairs with the spread seen here show"
        " in four of five such studies (power 0.8), at the corrected level of significance. It rests on the spread of"
        " these runs, so a few runs give only a rough value. A smaller difference may well exist.",
        "",
    ]
    if min(pairs) < 6:
        lines += [
            f"With {'as few as ' * (min(pairs) < max(pairs))}{min(pairs)} pairs, the test assumes that differences are"
            ' about normally distributed, which so few cannot confirm, and it finds only large effects. "No difference'
            ' shown" does not mean that there is none.',
            "",
        ]
    return lines


def _correction(rows: Rows, tested: Sequence[Difference]) -> str:
    """Return how the tests of a table are corrected, in words."""
    if rows.claim is None:
        tests = tested[0].family
        which = "that the study plans" if rows.planned else "of this table"
        return f"Holm's correction over the {tests} comparisons {which}" if tests > 1 else "one test, no correction"
    families = {rows.has_labels(one.row, rows.claim.method): one.family for one in tested}
    parts = []
    if True in families:
        parts.append(
            f"the {pluralize(families[True], 'comparison')} of the study's claim (method against baseline and controls)"
        )
    if False in families:
        parts.append(f"the {pluralize(families[False], 'other comparison')} that it plans")
    return f"Holm's correction over {', and separately over '.join(parts)}"
