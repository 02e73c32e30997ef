"""Training steps with their data: the textbook, and ours in several forms, in turns on one card."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from measuring import ratio

from mcl.reports.markdown import NONE, table
from on_gpu.setup import NotAvailable, Setup
from on_gpu.tables import unavailable

TITLE = "A training step"
TEXTBOOK = "textbook"
DATA_REPEATS = 10


def measure(setup: Setup, *, problem: str, precision: str, forms: list[str], budget: float) -> dict[str, Any]:
    """Return the seconds of a step of each form, and of the data in it."""
    from mcl.benchmarking import time_in_turns
    from on_gpu.blocks import time_blocks
    from on_gpu.forms import available, build, multiply_adds, problem_of, waiting

    chosen = problem_of(setup, problem)
    synchronize = waiting(setup)

    ready, reasons = available(forms, lambda name: build(setup, chosen, name, precision), setup)
    if not ready or list(ready) == [TEXTBOOK] != forms:
        raise NotAvailable("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
    calls = {name: form.call(form.next_step) for name, form in ready.items()}
    data = {name: lambda form=form: next(form.training.batches) for name, form in ready.items()}
    return {
        **time_blocks(setup, calls, synchronize, budget=budget),
        "data": time_in_turns(data, setup.size(DATA_REPEATS, 1), synchronize=synchronize),
        "memory": {name: form.memory for name, form in ready.items() if form.memory},
        "not_available": reasons,
        "batch": chosen.batch,
        "multiply_adds": multiply_adds(next(iter(ready.values())))["step"] * chosen.batch,
    }


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    seconds = found["seconds"]
    words = [f"{name} {1e3 * median(values):.3g} ms" for name, values in seconds.items()]
    if TEXTBOOK in seconds:
        ours = {name: ratio(seconds[TEXTBOOK], values) for name, values in seconds.items() if name != TEXTBOOK}
        words += [f"{name} {times.value:.2f} times the textbook" for name, times in ours.items()]
    words += [f"{name} not available" for name in found["not_available"]]
    return ", ".join(words)


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page.

    Args:
        rows: measured rows of this module.
        limits: multiply-adds per second of a large matrix product, by precision.
    """
    reference = {
        row["arguments"]["problem"]: row["found"]["seconds"][TEXTBOOK]
        for row in rows
        if row["arguments"]["precision"] == "float32" and TEXTBOOK in row["found"]["seconds"]
    }
    cells = []
    for row in rows:
        arguments, found = row["arguments"], row["found"]
        seconds, precision = found["seconds"], arguments["precision"]
        for name, values in seconds.items():
            step, memory = median(values), found["memory"].get(name)
            rate = found["multiply_adds"] / step
            textbook = seconds.get(TEXTBOOK) if name != TEXTBOOK else None
            times = ratio(textbook, values) if textbook else None
            base = reference.get(arguments["problem"]) if name != TEXTBOOK or precision != "float32" else None
            own_data, all_data = (median(found["data"][each]) for each in (name, TEXTBOOK if textbook else name))
            cells.append(
                [
                    f"{arguments['problem']}, {found['batch']}",
                    precision,
                    name,
                    f"{1e3 * step:.3g}",
                    f"{1e3 * own_data:.2g}",
                    f"{times.value:.2f} ({times.low:.2f} to {times.high:.2f})" if times else NONE,
                    f"{(median(textbook) - all_data) / (step - own_data):.2f}" if textbook else NONE,
                    f"{median(base) / step:.2f}" if base else NONE,
                    f"{100 * rate / limits[precision]:.1f} %" if precision in limits else NONE,
                    f"{memory['peak'] / 1e6:,.0f}" if memory else NONE,
                ]
            )
    headers = ["pair, batch", "precision", "form", "step, ms", "data in it, ms", "× (middle half)", "× less data"]
    return [
        "Each form takes turns with the textbook of its row, in blocks of steps with their data; figures are medians of"
        " blocks. *×* compares with the textbook in the same precision, whose forward pass is under autocast in half"
        " precision and whose float16 has no loss scaling; *× less data* leaves out the data on both sides; *× float32*"
        " compares with the textbook in float32, measured in another row. *Share* is that of the multiply-adds per"
        " second of a large matrix product in the same precision: convolutions and linear layers of the networks,"
        " nothing else counts as work. *Peak* is the peak of tensors that this form added.",
        "",
        *table([*headers, "× float32", "share", "peak, MB"], cells, 3),
        *unavailable(rows),
    ]
