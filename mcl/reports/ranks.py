"""Ranks of the rows of a study, with intervals: which method is where, as far as these runs can tell."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from mcl.console import pluralize
from mcl.reports.accuracy_tables import key, key_factors
from mcl.reports.comparisons import ALPHA
from mcl.reports.markdown import NONE, cell, listed, percent
from mcl.reports.rows import METRICS, Row, Rows
from mcl.reports.statistics import compare, holm, mean_of_known
from mcl.reports.tables import Table


@dataclass(frozen=True)
class Rank:
    """The place of a row among those that it is compared with.

    Args:
        row: the row.
        mean: its mean over runs, in percent.
        rank: by the mean; 1 is the best.
        first: the best rank that the tests leave open.
        last: the worst rank that they leave open.
        better_than: the rows that it is shown to be better than.
    """

    row: Row
    mean: float
    rank: int
    first: int
    last: int
    better_than: tuple[Row, ...]


def ranks(rows: Sequence[Row], metric: str, *, planned: bool) -> tuple[list[Rank], int]:
    """Rank rows that are otherwise equal, best first; return the number of tests, too: of a plan, of all rows.

    Every two rows are compared by a t-test paired by seed, with Holm's correction over all of them. A row's interval
    counts those that are shown to be better or worse; so all intervals together hold with the level of the tests (as
    in Mogstad et al., Review of Economic Studies 2024, with Holm's test in place of theirs).
    """
    values = [(row, by_seed) for row in rows if (by_seed := _by_seed(row, metric))]
    means = {id(row): fmean(by_seed.values()) for row, by_seed in values}  # rounded as in the other tables
    pairs = [(one[0], other[0], compare(one[1], other[1])) for one, other in itertools.combinations(values, 2)]
    tested = [(one, other, found) for one, other, found in pairs if found.p is not None]
    tests = math.comb(len(rows), 2) if planned else len(tested)
    adjusted = holm([found.p for _, _, found in tested if found.p is not None], tests)
    shown = [
        (one, other) if found.difference.mean > 0 else (other, one)
        for (one, other, found), p in zip(tested, adjusted, strict=True)
        if p < ALPHA and found.difference.mean
    ]  # better, worse
    in_order = sorted((row for row, _ in values), key=lambda row: -means[id(row)])
    places = [
        Rank(
            row,
            means[id(row)],
            1 + sum(mean > means[id(row)] for mean in means.values()),
            1 + sum(worse is row for _, worse in shown),
            len(values) - sum(better is row for better, _ in shown),
            tuple(worse for better, worse in shown if better is row),
        )
        for row in in_order
    ]
    return places, tests


def rank_tables(rows: Rows, metric: str) -> dict[str, Table]:
    """Return the table of each group of rows that are compared with one another, by the name of the group."""
    tables = {}
    for name, group in rows.groups().items():
        found, tests = ranks(group, metric, planned=rows.planned)
        if len(found) > 1:
            body = [
                [key(rows, one.row), percent(one.mean), str(one.rank), _interval(one), _names(rows, one.better_than)]
                for one in found
            ]
            caption = (
                f"Ranks by the mean top-1 accuracy of the deployed networks ({METRICS[metric]}), with the ranks that"
                f" {pluralize(tests, 'test')} between two rows, corrected together, leave open."
            )
            headers = [", ".join(key_factors(rows)), "mean", "rank", "95 % interval", "shown to be better than"]
            tables[name] = Table("ranks" + f"-{name}" * bool(name), caption, headers, body, closing=1)
    return tables


def rank_section(rows: Rows, metric: str) -> list[str]:
    """Return the section that ranks the rows, if the study asks for it."""
    tables = rank_tables(rows, metric) if rows.ranked else {}
    if not tables:
        return []
    lines = ["## Ranks", ""]
    for name, found in tables.items():
        lines += [f"### {cell(name)}", ""] if name else []
        lines += [found.caption, "", *found.in_markdown()]
    return [
        *lines,
        "A rank by the mean is not a finding: rows whose intervals overlap may change places with other seeds. What is"
        " shown stands in the last column: a t-test paired by seed for every two rows, with Holm's correction over all"
        " of them. The interval of a row goes from the number of rows shown to be better, plus one, to the number of"
        " rows less those shown to be worse.",
        "",
    ]


def _by_seed(row: Row, metric: str) -> Mapping[int, float]:
    """Return the mean of the deployed networks of each run."""
    values = list(row.values(metric).values())
    seeds = set.intersection(*map(set, values)) if values else set()
    means = {seed: mean_of_known([by_seed[seed] for by_seed in values]) for seed in sorted(seeds)}
    return {seed: mean for seed, mean in means.items() if mean is not None}


def _interval(one: Rank) -> str:
    return str(one.first) if one.first == one.last else f"{one.first} to {one.last}"


def _names(rows: Rows, others: Sequence[Row]) -> str:
    return listed(rows.name(row, rows.compared) for row in others) if others else NONE
