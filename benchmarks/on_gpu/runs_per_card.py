"""Many small runs on one card: steps per second of 1, 4 and 16 runs that train at the same time."""

import multiprocessing
import time
from collections.abc import Sequence
from queue import Empty
from typing import Any

from mcl.reports.markdown import table
from on_gpu.setup import NotAvailable, Setup

TITLE = "Small runs on one card"
BLOCK = 10  # steps between two looks at the clock
START = 240.0  # seconds in which all runs must be ready


def measure(setup: Setup, *, runs: int, pair: str, precision: str, seconds: float) -> dict[str, Any]:
    """Return the steps per second of each run, while all of them train.

    Each run is a process as a launcher would start it, with its own context on the card, and one thread. The clock
    starts when all have warmed up.
    """
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(runs), context.Queue()
    arguments = (setup, pair, precision, seconds, barrier, answers)
    processes = [context.Process(target=_train, args=arguments, daemon=True) for _ in range(runs)]
    start = time.monotonic()
    for process in processes:
        process.start()
    trained: list[tuple[str, float]] = []
    try:
        while len(trained) < runs:
            try:
                answer = answers.get(timeout=0.5)
            except Empty:
                dead = [process.exitcode for process in processes if process.exitcode]
                if dead or time.monotonic() - start > START + 2 * seconds:
                    raise NotAvailable(f"{runs} runs at once: a run ended with status {dead[:1]}") from None
                continue
            if isinstance(answer, str):
                raise NotAvailable(f"{runs} runs at once: {answer}")
            trained.append(answer)
    finally:
        for process in processes:
            if len(trained) < runs:
                process.kill()
            process.join()
    forms, rates = zip(*trained, strict=True)
    return {"steps_per_second": rates, "forms": forms}


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    rates, (form,) = found["steps_per_second"], set(found["forms"])
    each = f", {sum(rates) / len(rates):.3g} each" if len(rates) > 1 else ""
    return f"{form}: {sum(rates):.4g} steps/s{each}"


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    alone = {row["arguments"]["pair"]: sum(row["found"]["steps_per_second"]) for row in rows if _runs(row) == 1}
    cells = []
    for row in sorted(rows, key=lambda row: (row["arguments"]["pair"], _runs(row))):
        arguments, rates = row["arguments"], row["found"]["steps_per_second"]
        base = alone.get(arguments["pair"])
        cells.append(
            [
                *(
                    arguments["pair"],
                    arguments["precision"],
                    ", ".join(sorted(set(row["found"]["forms"]))),
                    str(_runs(row)),
                ),
                *(f"{sum(rates):,.1f}", f"{min(rates):.3g} to {max(rates):.3g}"),
                f"{sum(rates) / base:.2f}" if base else "–",
            ]
        )
    headers = ["pair", "precision", "form", "runs at once", "steps/s of all", "of each", "times one after the other"]
    return [
        "Each run is a process with one thread and its own context on the card. All warm up, then train for the same"
        " seconds, without meta rounds and evaluations; start-up is not counted. One after the other, N runs have the"
        " rate of a single one. The goal is 3 times that with 16 runs.",
        "",
        *table(headers, cells, 3),
    ]


def _runs(row: dict[str, Any]) -> int:
    runs: int = row["arguments"]["runs"]
    return runs


def _train(setup: Setup, pair: str, precision: str, seconds: float, barrier: Any, answers: Any) -> None:
    import torch

    from on_gpu.forms import TINY, Problem, available, build, waiting
    from on_gpu.setup import one_line

    torch.set_num_threads(1)
    try:
        problem = setup.size(Problem(pair, 128, 32), TINY["resnet32"])
        for name in ("captured", "eager"):
            ready, reasons = available([name], lambda name: build(setup, problem, name, precision), setup)
            if ready:
                break
        else:
            raise NotAvailable(reasons[name])
        form = ready[name]
        synchronize = waiting(setup)
        synchronize()
        barrier.wait(START)
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for _ in range(setup.size(BLOCK, 1)):
                form.call(form.next_step)()
            synchronize()
            steps += setup.size(BLOCK, 1)
        answers.put((name, steps / (time.perf_counter() - start)))
    except Exception as error:
        barrier.abort()
        answers.put(one_line(error))
