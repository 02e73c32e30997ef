"""A meta round: the textbook by copies of the states or as one graph, ours with graphs kept or recomputed."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from measuring import ratio

from mcl.reports.markdown import NONE, table
from on_gpu.setup import NotAvailable, Setup
from on_gpu.tables import unavailable

TITLE = "A meta round"
TEXTBOOK, ONE_GRAPH = "textbook", "textbook, one graph"
KEEP, RECOMPUTE = "keep", "recompute"


def measure(setup: Setup, *, problem: str, precision: str, budget: float) -> dict[str, Any]:
    """Return the seconds and the peak memory of a meta round of each form, as in a training of that precision."""
    from mcl.reference.unrolled_gradient import meta_gradient
    from on_gpu.blocks import time_blocks
    from on_gpu.forms import available, build, multiply_adds, problem_of, waiting

    chosen, synchronize = problem_of(setup, problem), waiting(setup)

    def make(name: str) -> Any:
        if name in (KEEP, RECOMPUTE):
            form = build(setup, chosen, "eager", precision, f"loss.meta.memory={name}")
        else:
            form = build(setup, chosen, "textbook", precision)
            if name == ONE_GRAPH:
                form.training.training.meta_gradient = meta_gradient
        form.batch = next(form.training.batches)
        return form

    def warm_up(form: Any) -> None:
        for _ in range(setup.size(2, 1)):
            form.training.meta_round(form.batch)

    names = [TEXTBOOK, KEEP, RECOMPUTE, ONE_GRAPH]
    ready, reasons = available(names, make, setup, warm_up)
    if not ready:
        raise NotAvailable("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
    calls = {name: form.call(lambda form=form: form.training.meta_round(form.batch)) for name, form in ready.items()}
    return {
        **time_blocks(setup, calls, synchronize, budget=budget),
        "memory": {name: form.memory for name, form in ready.items() if form.memory},
        "not_available": reasons,
        "batch": chosen.batch,
        "interval": next(iter(ready.values())).parts.learner.loss.meta.interval,
        "multiply_adds": multiply_adds(next(iter(ready.values())))["meta_round"] * chosen.batch,
    }


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    return ", ".join(f"{name} {1e3 * median(values):.4g} ms" for name, values in found["seconds"].items())


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    cells = []
    for row in rows:
        found = row["found"]
        for name, values in found["seconds"].items():
            textbook = found["seconds"].get(TEXTBOOK)
            times = ratio(textbook, values) if textbook and name != TEXTBOOK else None
            memory = found["memory"].get(name)
            limit = limits.get("float32" if row["arguments"]["precision"] == "float32" else "tf32")
            share = found["multiply_adds"] / median(values) / limit if limit else None
            cells.append(
                [
                    f"{row['arguments']['problem']}, {found['batch']}",
                    *(row["arguments"]["precision"], name, f"{1e3 * median(values):.4g}"),
                    f"{times.value:.2f} ({times.low:.2f} to {times.high:.2f})" if times else NONE,
                    NONE if share is None or name == RECOMPUTE else f"{100 * share:.1f} %",
                    f"{memory['peak'] / 1e6:,.0f}" if memory else NONE,
                ]
            )
    headers = ["pair, batch", "training in", "form"]
    return [
        "Two inner steps, one outer step and the backward pass through all of them, in float32; if training is not, the"
        " convolutions are in TF32. *keep* and *recompute* are `loss.meta.memory=`. The textbook repeats every step"
        " from a copy of the state in the backward pass; with *one graph* it keeps the whole unrolled loop. *Share* is"
        " that of the multiply-adds per second of a large matrix product, in float32 or TF32; with *recompute* it would"
        " count work done twice, so it is left out.",
        "",
        *table([*headers, "a round, ms", "× (middle half)", "share", "peak, MB"], cells, 3),
        *unavailable(rows),
    ]
