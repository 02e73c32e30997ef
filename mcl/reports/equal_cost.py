"""Cost of runs, and their accuracy at the cost of another run."""

from collections.abc import Sequence

from mcl.reports.rows import Row
from mcl.reports.statistics import mean_of_known
from mcl.runs.reading import Evaluation, Run, mapping, number
from mcl.runs.summary import deployed_networks

EXACT = 1 + 1e-9  # costs come from whole steps; this much is rounding


def training_cost(run: Run, step: int | None = None) -> float | None:
    """Return the multiply-adds of training up to a step, by default to the end; None if the run did not count them.

    Meta rounds, one at step 0 and every ``loss.meta.interval`` steps, are counted at the step when they happen.
    """
    counts = mapping(run.summary.get("multiply_adds"))
    total, of_step, of_round = (number(counts.get(name)) for name in ("total", "step", "meta_round"))
    if total is None or step is None:
        return total
    steps = number(run.summary.get("steps"))
    if not steps or of_step is None:
        return None
    interval = number(mapping(mapping(run.config.get("loss")).get("meta")).get("interval"))

    def units(steps: float) -> float:
        return steps * of_step + (-(-steps // interval) * (of_round or 0) if interval else 0)

    return total * units(step) / units(steps) if units(steps) else None


def at_cost(run: Run, budget: float) -> Evaluation | None:
    """Return the last evaluation of a run that had cost no more than ``budget`` multiply-adds.

    None if there is none, or if evaluations are missing from the run's metrics.jsonl.
    """
    if not run.has_curve:
        return None
    for evaluation in reversed(run.evaluations):
        cost = training_cost(run, evaluation.step)
        if cost is not None and cost <= budget * EXACT:
            return evaluation
    return None


def by_name(run: Run, evaluation: Evaluation) -> dict[str, float]:
    """Return top-1 in percent of each network name, networks of one name averaged; without one that lacks a number."""
    by_network: dict[str, list[float | None]] = {}
    for network in deployed_networks(run.summary):
        by_network.setdefault(network["name"], []).append(evaluation.top1.get(str(network.get("key"))))
    means = {name: None if None in values else mean_of_known(values) for name, values in by_network.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


def mean_training_cost(row: Row) -> float | None:
    """Return the multiply-adds of training, averaged over the finished runs that counted them."""
    return mean_of_known(map(training_cost, row.finished))


def cost_ratio(row: Row, other: Row) -> float | None:
    """Return the multiply-adds of a row's training divided by another row's; None if one of them did not count them."""
    cost, base = mean_training_cost(row), mean_training_cost(other)
    return cost / base if cost and base else None


def time_ratio(row: Row, other: Row) -> float | None:
    """Return the seconds of a row's training divided by another row's; None if one of them did not measure them."""
    times = [
        mean_of_known(number(run.summary.get("training_seconds")) for run in each.finished) for each in (row, other)
    ]
    return times[0] / times[1] if times[0] and times[1] else None


def cheapest(rows: Sequence[Row]) -> float | None:
    """Return the multiply-adds at which the cheapest of some rows ended; None if no run counted them."""
    ends = [[cost for run in row.finished if (cost := training_cost(run)) is not None] for row in rows]
    return min((max(costs) for costs in ends if costs), default=None)
