"""One meta round: its time and its memory."""

import time
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from typing import Any

from measuring import Options, new_process

from mcl.reports.markdown import table

TITLE = "Meta round"
CONTIGUOUS = ["trainer.channels_last=false"]
FORMS = {  # ours keeps the graphs of the unrolled steps or recomputes them
    "textbook": CONTIGUOUS,
    "keep": ["loss.meta.memory=keep"],
    "recompute": ["loss.meta.memory=recompute"],
    "textbook, one graph": CONTIGUOUS,
}


def measure(options: Options) -> dict[str, Any]:
    return {form: _compare(["textbook", form], options) for form in FORMS if form != "textbook"}


def _compare(forms: list[str], options: Options) -> dict[str, Any]:
    """Measure in turns, each form in its own process: the way one uses freed memory would slow down the others."""
    results: dict[str, Any] = {form: {"seconds": []} for form in forms}
    with ExitStack() as stack:
        processes = {form: stack.enter_context(new_process()) for form in forms}
        for form, process in processes.items():
            results[form]["before"] = process.submit(memory, form, options).result()
        for turn in range(-1, options.rounds):  # the first one does not count
            for form, process in processes.items():
                seconds = process.submit(one_round, form, options).result()
                if turn >= 0:
                    results[form]["seconds"].append(seconds)
        for form, process in processes.items():
            results[form]["after"] = process.submit(memory, form, options).result()
    return results


def one_round(form: str, options: Options) -> float:
    """Return the seconds of a round in this process."""
    training, batch = _training_and_batch(form, options)
    start = time.perf_counter()
    training.meta_round(batch)
    return time.perf_counter() - start


def memory(form: str, options: Options) -> int:
    """Return the peak memory of this process so far, in bytes."""
    from mcl.peak_memory import peak_memory

    _training_and_batch(form, options)
    peak = peak_memory("cpu")
    assert peak is not None
    return peak


@lru_cache
def _training_and_batch(form: str, options: Options) -> tuple[Any, Any]:
    """Build the training of this process once, and fetch a batch."""
    from trainings import Textbook, build_parts, cifar_like, ours

    from mcl.reference.unrolled_gradient import meta_gradient

    images = [f"dataset.train_per_class={min(20, options.per_class)}"]  # no more are needed
    parts = build_parts([*cifar_like(options), "trainer.precision=float32", *images, *FORMS[form]])
    kinds = {"textbook": Textbook, "textbook, one graph": partial(Textbook, meta_gradient=meta_gradient)}
    training = kinds.get(form, ours)(parts, parts.dataset.load())
    return training, next(training.batches)


def report(result: dict[str, Any], folder: Path) -> list[str]:
    options, rows = result["options"], []
    for form, measured in result["found"].items():
        textbook, ours = measured["textbook"], measured[form]
        seconds = median(textbook["seconds"]), median(ours["seconds"])
        added = [values["after"] - values["before"] for values in (textbook, ours)]
        rows.append(
            [
                form,
                *(f"{value:.2f}" for value in (*seconds, seconds[0] / seconds[1])),
                *(f"{value / 1e6:,.0f}" for value in (*added, textbook["after"], ours["after"])),
            ]
        )
    return [
        f"One round of the {options['pair']} pair, batch {options['batch']}, float32: two inner steps, one outer"
        " step, and the backward pass through all of them. Each form takes turns with the textbook, both in processes"
        " of their own. *keep* and *recompute* are `loss.meta.memory=`, in channels_last. The textbook is contiguous,"
        " which is its faster format, and repeats every step from a copy of the state in the backward pass; with *one"
        " graph* it keeps the whole unrolled loop. Memory is peak resident memory: added by the rounds, and of the"
        " whole process.",
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
