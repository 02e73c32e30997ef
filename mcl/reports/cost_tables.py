"""Cost in a report: of training, of the deployed networks, and accuracy at equal cost."""

from collections.abc import Iterable, Sequence

from mcl.reports.accuracy_tables import labels
from mcl.reports.equal_cost import at_cost, by_name, cheapest, training_cost
from mcl.reports.markdown import NONE, count, listed, seconds, table, with_deviation, without_empty
from mcl.reports.rows import Row, Rows
from mcl.reports.statistics import estimate
from mcl.runs.reading import number


def cost_table(rows: Rows) -> list[str]:
    """What training cost, and what the deployed networks cost."""
    body = []
    for row in rows.rows:
        if not row.finished:
            continue
        cost = _mean(training_cost(run) for run in row.finished)
        bases = rows.baselines_of(row)
        base = _mean(training_cost(run) for run in bases[0].finished) if len(bases) == 1 else None
        body.append(
            [
                *labels(rows, row),
                count(cost),
                f"{cost / base:.2f} ×" if cost and base else NONE,
                seconds(_mean(number(run.summary.get("seconds")) for run in row.finished)),
                seconds(_mean(number(run.summary.get("training_seconds")) for run in row.finished)),
                count(_mean(number(run.summary.get("images_per_second")) for run in row.finished)),
                _deployed(row, "multiply_adds"),
                _deployed(row, "parameters"),
            ]
        )
    if not body:
        return []
    headers = [
        *rows.varying,
        "training, multiply-adds",
        "of the baseline's",
        "time, s",
        "of it training, s",
        "images/s",
    ]
    headers += ["deployed, multiply-adds per image", "deployed, parameters"]
    return [
        "## Cost",
        "",
        *table(*without_empty(headers, body), len(rows.varying)),
        "Means over runs. Multiply-adds are those of the networks' convolutions and linear layers, forward and"
        " backward, branches and meta rounds included. What the loss computes from their features (projection heads,"
        " matching layers, similarities) is not counted, nor are evaluations. Multiply-adds do not depend on the"
        " machine. Time does: it may only be compared where each run had the same machine to itself, which the files"
        " do not tell. What is deployed is the backbone alone; branches and heads end with training.",
        "",
        *_equal_cost(rows),
    ]


def _equal_cost(rows: Rows) -> list[str]:
    body, silent = [], []
    for name, group in rows.groups().items():
        group = [row for row in group if row.finished]
        budget = cheapest(group)
        if len(group) < 2:
            continue
        if budget is None:
            silent.append(name or "all rows")
            continue
        for row in group:
            found = [(at.epoch, by_name(run, at)) for run in row.finished if (at := at_cost(run, budget)) is not None]
            epochs = [run.summary["epochs"] for run in row.finished if isinstance(run.summary.get("epochs"), int)]
            read = f"{_range([epoch for epoch, _ in found])} of {_range(epochs)}" if found else NONE
            for network in dict.fromkeys(name for _, top1 in found for name in top1) or [NONE]:
                by_budget = estimate([top1[network] for _, top1 in found if network in top1])
                end = estimate(list(row.values("top1_last").get(network, {}).values()))
                by_then = with_deviation(by_budget)
                if 0 < by_budget.count < end.count:
                    by_then += f" ({by_budget.count} of {end.count} runs)"
                body.append([*labels(rows, row), network, count(budget), by_then, read, with_deviation(end)])
    if not body and not silent:
        return []
    lines = ["### At equal cost", ""]
    if body:
        headers = ["network", "multiply-adds", "top-1 by then", "epoch", "top-1 at its own end"]
        lines += [
            "Each row at the cost at which the cheapest row that it is compared with had ended: the backbone at the"
            " last evaluation that had cost no more.",
            "",
            *table([*rows.varying, *headers], body, len(rows.varying) + 1),
            "A run read midway has not finished its learning-rate schedule, and would do better had it been planned for"
            " this cost: this table is unkind to the dearer rows. The fair comparison is a baseline trained for as long"
            " as the dearer rows cost; where it was run, it is a row of its own above.",
            "",
        ]
    if silent:
        lines += [f"Not known of {listed(silent)}: these runs do not tell their multiply-adds.", ""]
    return lines


def _deployed(row: Row, key: str) -> str:
    found = {
        network["name"]: value
        for run in row.finished
        for network in run.summary["networks"]
        if (value := number(network.get(key))) is not None
    }
    return (
        ", ".join(f"{name} {count(value)}" if len(found) > 1 else count(value) for name, value in found.items()) or NONE
    )


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _range(values: Sequence[int]) -> str:
    if not values:
        return NONE
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"
