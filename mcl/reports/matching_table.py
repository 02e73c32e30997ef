"""Learned matching weights in numbers: at the first and at the last moment that the runs recorded."""

from mcl.reports.markdown import NONE
from mcl.reports.matching_maps import NEUTRAL, Strip, Weights, strips
from mcl.reports.rows import Rows
from mcl.reports.statistics import mean_of_known
from mcl.reports.tables import Table

HEADERS = ("epoch", "mean", "equal stages", "other stages", "highest", "lowest", "highest between", "lowest between")


def matching_table(rows: Rows) -> Table:
    """Return the matching weights of each pair of networks, averaged over runs, at the beginning and at the end."""
    body = [
        [rows.name(row), " × ".join(strip.networks), str(epoch), *_numbers(weights)]
        for row in rows.rows
        for strip in strips(rows, row, 2)
        for epoch, weights in _ends(strip)
    ]
    caption = f"Learned matching weights, means over runs. {NEUTRAL} is neutral."
    return Table("matching", caption, ["row", "networks", *HEADERS], body, words=2, closing=2)


def matching_section(rows: Rows) -> list[str]:
    """Return the section on where the learned matching weights go."""
    found = matching_table(rows)
    if not found.rows:
        return []
    return [
        "## Where the learned weights go",
        "",
        *found.in_markdown(),
        f"Means over runs of the weights between the stages of two networks, at the first and the last moment that all"
        f" runs recorded; {NEUTRAL} is neutral. The last columns name the stages with the highest and with the lowest"
        " weight. The maps below show all stages, and moments in between.",
        "",
    ]


def _ends(strip: Strip) -> list[tuple[int, Weights]]:
    """Return the first and the last moment, or the only one."""
    return [strip.moments[0], *strip.moments[1:][-1:]]


def _numbers(weights: Weights) -> list[str]:
    equal = mean_of_known(weight for stages, weight in weights.items() if _stage(stages[0]) == _stage(stages[1]))
    other = mean_of_known(weight for stages, weight in weights.items() if _stage(stages[0]) != _stage(stages[1]))
    highest, lowest = max(weights, key=weights.__getitem__), min(weights, key=weights.__getitem__)
    numbers = [mean_of_known(weights.values()), equal, other, weights[highest], weights[lowest]]
    names = [f"{_stage(first)} and {_stage(second)}" for first, second in (highest, lowest)]
    return [*(NONE if number is None else f"{number:.3f}" for number in numbers), *names]


def _stage(node: str) -> str:
    """Return ``"stage1"`` of ``"first.stage1"``."""
    return node.partition(".")[2]
