"""One meta round: its time and its memory."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from typing import Any

from measuring import Options

from mcl.reports.markdown import table

TITLE = "Meta round"
CONTIGUOUS = ["trainer.channels_last=false"]
FORMS = {  # ours keeps the graphs of the unrolled steps, or computes them again
    "textbook": CONTIGUOUS,
    "keep": ["loss.meta.memory=keep"],
    "recompute": ["loss.meta.memory=recompute"],
    "textbook, one graph": CONTIGUOUS,
}


def measure(options: Options) -> dict[str, Any]:
    return {form: _in_turns(["textbook", form], options) for form in FORMS if form != "textbook"}


def _in_turns(forms: list[str], options: Options) -> dict[str, Any]:
    """Each form in a process of its own: what one does with freed memory would cost the others time."""
    found: dict[str, Any] = {form: {"seconds": []} for form in forms}
    with ExitStack() as stack:
        start = multiprocessing.get_context("spawn")
        pools = {form: stack.enter_context(ProcessPoolExecutor(1, mp_context=start)) for form in forms}
        for form, pool in pools.items():
            found[form]["before"] = pool.submit(memory, form, options).result()
        for turn in range(-1, options.rounds):  # the first one does not count
            for form, pool in pools.items():
                seconds = pool.submit(one_round, form, options).result()
                found[form]["seconds"] += [seconds] if turn >= 0 else []
        for form, pool in pools.items():
            found[form]["after"] = pool.submit(memory, form, options).result()
    return found


def one_round(form: str, options: Options) -> float:
    """Seconds of a round in this process."""
    training, batch = _made(form, options)
    start = time.perf_counter()
    training.meta_round(batch)
    return time.perf_counter() - start


def memory(form: str, options: Options) -> int:
    """Bytes that this process has held at most."""
    import torch

    from mcl.benchmarking.peak_memory import peak_memory

    _made(form, options)
    peak = peak_memory(torch.device("cpu"))
    assert peak is not None
    return peak


@lru_cache
def _made(form: str, options: Options) -> tuple[Any, Any]:
    """The training of this process, and a batch."""
    from trainings import Ours, Textbook, as_on_cifar, assembled

    from mcl.reference.unrolled_gradient import meta_gradient

    images = [f"dataset.train_per_class={min(20, options.per_class)}"]  # no more are needed
    parts = assembled([*as_on_cifar(options), "trainer.precision=float32", *images, *FORMS[form]])
    kinds = {"textbook": Textbook, "textbook, one graph": partial(Textbook, meta_gradient=meta_gradient)}
    training = kinds.get(form, Ours)(parts, parts.dataset.load())
    return training, next(training.batches)


def report(result: dict[str, Any], folder: Path) -> list[str]:
    options, rows = result["options"], []
    for form, found in result["found"].items():
        textbook, ours = found["textbook"], found[form]
        seconds = median(textbook["seconds"]), median(ours["seconds"])
        added = [of["after"] - of["before"] for of in (textbook, ours)]
        rows.append(
            [
                form,
                *(f"{value:.2f}" for value in (*seconds, seconds[0] / seconds[1])),
                *(f"{value / 1e6:,.0f}" for value in (*added, textbook["after"], ours["after"])),
            ]
        )
    return [
        f"One round of the {options['pair']} pair, batch {options['batch']}, float32: two inner steps, one outer"
        " step, and back through all of them. Each form takes turns with the textbook, both in a process of their own."
        " *keep* and *recompute* are `loss.meta.memory=`, in channels_last. The textbook is contiguous, which is its"
        " faster format, and takes every step once more on its way back, from a copy of the state; with *one graph* it"
        " keeps the whole unrolled loop. Memory is resident memory at its most: what rounds added, and the whole"
        " process.",
        "",
        *table(
            [
                "form",
                *("textbook, s", "s", "times as fast"),
                *("textbook: MB added", "MB added", "textbook: MB in all", "MB in all"),
            ],
            rows,
            1,
        ),
    ]
