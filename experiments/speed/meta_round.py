"""One meta round: its time in turns, its memory in processes of their own."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from measuring import Options, alternate, apart, medians

from mcl.studies.tables import table

TITLE = "Meta round"
FORMS = {  # ours keeps the graphs of the unrolled steps, or computes them again
    "textbook": ["trainer.channels_last=false"],
    "textbook, one graph": ["trainer.channels_last=false"],
    "keep": ["loss.meta.memory=keep"],
    "keep, contiguous": ["loss.meta.memory=keep", "trainer.channels_last=false"],
    "recompute": ["loss.meta.memory=recompute"],
}


def measure(options: Options) -> dict[str, Any]:
    from trainings import Ours, Textbook

    forms: dict[str, Ours | Textbook] = {name: made(name, options) for name in FORMS}
    batches = {name: next(form.batches) for name, form in forms.items()}
    calls = {name: lambda f=form, b=batches[name]: f.meta_round(b) for name, form in forms.items()}
    memory = {name: apart(memory_of, form=name, options=asdict(options)) for name in FORMS}
    return {"seconds": alternate(calls, options.rounds, 0), "memory": memory}


def made(form: str, options: Options) -> Any:
    from trainings import Ours, Textbook, TextbookOfOneGraph, as_on_cifar, assembled

    parts = assembled([*as_on_cifar(options), "trainer.precision=float32", *FORMS[form]])
    kinds = {"textbook": Textbook, "textbook, one graph": TextbookOfOneGraph}
    return kinds.get(form, Ours)(parts, parts.dataset.load())


def memory_of(form: str, options: dict[str, Any]) -> dict[str, int]:
    """Bytes that the process held at most, before and after its first meta round."""
    import torch

    from mcl.benchmarking.memory import peak_memory

    training = made(
        form, Options(**{**options, "per_class": min(20, options["per_class"])})
    )  # images are no matter here
    batch = next(training.batches)
    before = peak_memory(torch.device("cpu"))
    training.meta_round(batch)
    after = peak_memory(torch.device("cpu"))
    assert before is not None
    assert after is not None
    return {"before": before, "after": after}


def report(result: dict[str, Any], folder: Path) -> list[str]:
    found, options = result["found"], result["options"]
    seconds = medians(found["seconds"])
    memory = {name: of["after"] - of["before"] for name, of in found["memory"].items()}
    rows = [
        [
            name,
            f"{seconds[name]:.2f}",
            f"{memory[name] / 1e6:,.0f}",
            f"{found['memory'][name]['after'] / 1e6:,.0f}",
            f"{seconds['textbook'] / seconds[name]:.2f}",
            f"{memory[name] / memory['textbook']:.2f}",
        ]
        for name in seconds  # earlier measurements may know fewer forms
    ]
    return [
        f"One round of the {options['pair']} pair, batch {options['batch']}, float32: two inner steps, one outer"
        " step, and back through all of them. *keep* and *recompute* are `loss.meta.memory=`, in channels_last where"
        " not said otherwise. The textbook is contiguous, which is its faster format. It takes every step once more on"
        " its way back, from a copy of the state; with *one graph* it keeps the whole unrolled loop. Memory is resident"
        " memory at its most: what the round added, and the whole process.",
        "",
        *table(["", "s", "MB added", "MB in all", "times as fast", "of the textbook's memory"], rows, 1),
    ]
