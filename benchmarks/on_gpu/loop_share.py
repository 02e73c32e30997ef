"""The loop's own share of a step: data, meters and their reading, beside the step on one fixed batch."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from mcl.reports.markdown import table
from on_gpu.setup import NotAvailable, Setup
from on_gpu.tables import unavailable

TITLE = "The loop's own share"
GOAL = 0.03
STEPS, ROUNDS = 100, 7  # of a block; blocks
PER_CLASS = 500  # as many images as CIFAR-100 has: epochs end as rarely


def measure(setup: Setup, *, problem: str, precision: str, forms: list[str]) -> dict[str, Any]:
    """Return the seconds of a bare step and of a step of the loop, for each form."""
    from mcl.benchmarking import time_in_turns
    from on_gpu.forms import available, build, problem_of, waiting

    chosen, synchronize = problem_of(setup, problem), waiting(setup)
    chosen = chosen._replace(per_class=setup.size(PER_CLASS, chosen.per_class))
    steps = setup.size(STEPS, 2)
    ready, reasons = available(forms, lambda name: build(setup, chosen, name, precision), setup)
    if not ready:
        raise NotAvailable("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
    seconds: dict[str, dict[str, list[float]]] = {name: {"bare": [], "loop": []} for name in ready}
    for _ in range(setup.size(ROUNDS, 2)):
        for name, form in ready.items():
            form.batch = form.batch or next(form.training.batches)

            def bare(form: Any = form) -> None:
                for _ in range(steps):
                    form.training.train_step(form.batch)

            (spent,) = time_in_turns({"": form.call(bare)}, 1, warm_up=0, synchronize=synchronize)[""]
            seconds[name]["bare"].append(spent / steps)
            seconds[name]["loop"].append(
                form.call(lambda form=form: form.training.run_loop(steps, synchronize))() / steps
            )
    return {"seconds": seconds, "not_available": reasons}


def share(seconds: dict[str, list[float]]) -> tuple[float, float, float]:
    """Return the share of the loop in a step, the median of pairs with their middle half."""
    shares = sorted(1 - bare / loop for bare, loop in zip(seconds["bare"], seconds["loop"], strict=True))
    quarter = len(shares) // 4
    return median(shares), shares[quarter], shares[-1 - quarter]


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    shares = {form: share(seconds)[0] for form, seconds in found["seconds"].items()}
    return ", ".join(f"{form}: the loop takes {100 * value:.1f} % of a step" for form, value in shares.items())


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    cells = []
    for row in rows:
        for form, seconds in row["found"]["seconds"].items():
            bare, loop = (1e3 * median(seconds[kind]) for kind in ("bare", "loop"))
            middle, low, high = (100 * value for value in share(seconds))
            cells.append(
                [
                    *(row["arguments"]["problem"], row["arguments"]["precision"], form),
                    *(f"{bare:.4g}", f"{loop:.4g}", f"{middle:.1f} %", f"{low:.1f} to {high:.1f} %"),
                ]
            )
    headers = ["pair", "precision", "form", "bare step, ms", "step of the loop, ms", "the loop's share", "middle half"]
    return [
        "A *bare step* is forward, backward, gradient norm and optimizer on one fixed batch. A *step of the loop* is"
        " one of `Trainer.fit` without meta rounds: its own batch, augmented and normalized on the device, the meters,"
        f" a log point every 20 steps. Blocks of {STEPS} steps take turns. The goal is a share under {GOAL:.0%}.",
        "",
        *table(headers, cells, 3),
        *unavailable(rows),
    ]
