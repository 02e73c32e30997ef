"""Cost in a report: of training, of the deployed networks, and accuracy at equal cost."""

from collections.abc import Sequence
from typing import Any

from mcl.reports.accuracy_tables import key, key_factors, key_header
from mcl.reports.equal_cost import at_cost, by_name, cheapest, cost_ratio, mean_training_cost
from mcl.reports.markdown import NONE, cell, count, listed, seconds, table, with_deviation
from mcl.reports.rows import Row, Rows
from mcl.reports.statistics import Estimate, estimate, mean_of_known
from mcl.reports.tables import Table
from mcl.runs.reading import mapping, number
from mcl.runs.summary import deployed_networks

MEMORY = {"gpu": "on the GPU", "process": "of the process"}


def cost_table(rows: Rows) -> Table:
    """Return what training cost, and what the deployed networks cost."""
    body = []
    for row in rows.rows:
        if not row.finished:
            continue
        candidates = rows.baselines_of(row)
        ratio = cost_ratio(row, candidates[0]) if len(candidates) == 1 else None
        times = ("seconds", "training_seconds", "images_per_second")
        total, training, speed = (mean_of_known(number(run.summary.get(key)) for run in row.finished) for key in times)
        cost = mean_training_cost(row)
        shown = [count(cost), f"{ratio:.2f} ×" if ratio else NONE, seconds(total), seconds(training), count(speed)]
        in_training = [_recorded(row, "training_parameters"), *(_recorded(row, "peak_memory", kind) for kind in MEMORY)]
        deployed = (_deployed(row, key) for key in ("multiply_adds", "parameters"))
        body.append([key(rows, row), *shown, *in_training, *deployed])
    headers = [
        ", ".join(key_factors(rows)),
        "training, multiply-adds",
        "of the baseline's",
        "time, s",
        "training alone, s",
        "images/s",
        "training, parameters",
        *(f"peak memory {where}, bytes" for where in MEMORY.values()),
        "deployed, multiply-adds per image",
        "deployed, parameters",
    ]
    caption = "Cost of training and of the deployed networks, means over runs."
    return Table("cost", caption, headers, body).without_empty()


def cost_section(rows: Rows) -> list[str]:
    """Return the section on cost, and on accuracy at equal cost."""
    found = cost_table(rows)
    if not found.rows:
        return []
    return [
        "## Cost",
        "",
        *found.in_markdown(),
        "Means over runs. Multiply-adds are those of the networks' convolutions and linear layers, forward and"
        " backward, branches and meta rounds included. What the loss computes from their features (projection heads,"
        " matching layers, similarities) is not counted, nor are evaluations. Multiply-adds do not depend on the"
        " machine. Time does: compare it only if each run had the same machine to itself, which the files do not"
        " record. The parameters in training are those of all networks with their branches, frozen ones"
        " included, and of the loss; averaged copies are not counted again. Peak memory on a GPU is that of tensors,"
        " that of the process includes images and libraries; evaluations count, and of several processes the first."
        " Only the backbone is deployed; branches and heads are used in training alone.",
        "",
        *_equal_cost(rows),
    ]


def _equal_cost(rows: Rows) -> list[str]:
    body, silent, known = [], [], 0
    for name, group in rows.groups().items():
        group = [row for row in group if row.finished]
        budget = cheapest(group)
        if len(group) < 2:
            continue
        if budget is None:
            silent.append(name or "all rows")
            continue
        for row in group:
            reached = [(at.epoch, by_name(run, at)) for run in row.finished if (at := at_cost(run, budget)) is not None]
            known += bool(reached)
            epochs = [run.summary["epochs"] for run in row.finished if isinstance(run.summary.get("epochs"), int)]
            read = f"{_range([epoch for epoch, _ in reached])} of {_range(epochs)}" if reached else NONE
            for network in dict.fromkeys(name for _, top1 in reached for name in top1) or [NONE]:
                by_budget = estimate(top1[network] for _, top1 in reached if network in top1)
                end = row.estimates("top1_last").get(network, Estimate(0))
                by_then = with_deviation(by_budget)
                if 0 < by_budget.count < end.count:
                    by_then += f" ({by_budget.count} of {end.count} runs)"
                body.append([key(rows, row, network), by_then, with_deviation(end), read, count(budget)])
    if not body and not silent:
        return []
    lines = ["### At equal cost", ""]
    if body and known < max(2, len(body) / 2):
        lines += ["Unknown: the runs of most rows were not evaluated by then.", ""]
    elif body:
        headers = ["top-1 by then", "top-1 at its own end", "epoch", "multiply-adds"]
        lines += [
            "Each row at the cost at which the cheapest row that it is compared with had ended: the backbone at the"
            " last evaluation that had cost no more.",
            "",
            *table([key_header(rows), *headers], body, 1),
            "A run read midway has not finished its learning-rate schedule, and would do better had it been planned for"
            " this cost: this table is unfair to the more expensive rows. The fair comparison is a baseline trained for"
            " as long as the more expensive rows cost; if it was run, it is a row of its own above.",
            "",
        ]
    if silent:
        lines += [f"Unknown for {cell(listed(silent))}: these runs did not count their multiply-adds.", ""]
    return lines


def _deployed(row: Row, key: str) -> str:
    costs = {
        network["name"]: count(cost)
        for run in row.finished
        for network in deployed_networks(run.summary)
        if (cost := number(network.get(key))) is not None
    }
    if len(costs) < 2:
        return next(iter(costs.values()), NONE)
    return ", ".join(f"{name} {cost}" for name, cost in costs.items())


def _recorded(row: Row, *keys: str) -> str:
    """Return the mean over the runs that have this number in their summary, and how many have it if not all do."""
    values: list[Any] = [run.summary for run in row.finished]
    for name in keys:
        values = [mapping(value).get(name) for value in values]
    known = [value for value in map(number, values) if value is not None]
    some = f" ({len(known)} of {len(row.finished)} runs)" if 0 < len(known) < len(row.finished) else ""
    return count(mean_of_known(known)) + some


def _range(values: Sequence[int]) -> str:
    return " to ".join(map(str, sorted({min(values), max(values)}))) if values else NONE
