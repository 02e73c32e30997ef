"""The whole training: steps with their data, and meta rounds, weighed as often as they come."""

from pathlib import Path
from typing import Any

from measuring import Options, alternate, medians

from mcl.studies.tables import table

TITLE = "Whole training"
ONE_GRAPH = "textbook, one graph"


def measure(options: Options) -> dict[str, Any]:
    from trainings import PLAIN, WAYS, Ours, Textbook, TextbookOfOneGraph, as_on_cifar, assembled

    settings = as_on_cifar(options)
    parts = assembled([*settings, *PLAIN])
    splits = parts.dataset.load()
    forms: dict[str, Ours | Textbook] = {"textbook": Textbook(parts, splits)}
    for way, overrides in WAYS.items():
        forms[way] = Ours(assembled([*settings, *overrides]), splits)
    batches = {name: next(form.batches) for name, form in forms.items()}
    rounds = {**forms, ONE_GRAPH: TextbookOfOneGraph(parts, splits)}
    batches[ONE_GRAPH] = batches["textbook"]
    interval = parts.learner.loss.meta.interval
    return {
        "interval": interval,
        "data": alternate({name: lambda f=form: next(f.batches) for name, form in forms.items()}, options.repeats),
        "step": alternate(
            {name: lambda f=form: f.step(next(f.batches)) for name, form in forms.items()}, options.repeats
        ),
        "meta_round": alternate(
            {name: lambda f=form, b=batches[name]: f.meta_round(b) for name, form in rounds.items()}, options.rounds, 0
        ),
    }


def report(result: dict[str, Any], folder: Path) -> list[str]:
    found, options = result["found"], result["options"]
    data, step, rounds = (medians(found[name]) for name in ("data", "step", "meta_round"))
    step[ONE_GRAPH], data[ONE_GRAPH] = step["textbook"], data["textbook"]  # they differ in the meta round alone
    whole = {name: step[name] + rounds[name] / found["interval"] for name in step}
    rows = [
        [
            name,
            f"{1e3 * data[name]:.1f}",
            f"{step[name]:.3f}",
            f"{rounds[name]:.2f}",
            f"{whole[name]:.3f}",
            *(f"{of['textbook'] / of[name]:.2f}" for of in (step, rounds, whole)),
        ]
        for name in rounds
    ]
    return [
        f"The {options['pair']} pair by L-MCL, batches of {options['batch']} images of {options['side']} x"
        f" {options['side']}, a meta round every {found['interval']} steps. A step has its data in it; *whole* is a"
        f" step and 1/{found['interval']} of a meta round, which is in float32 in every row. The last three columns say"
        " how many times as fast as the textbook, whose meta round goes back by copies of the states, as published;"
        " *one graph* is autograd over the whole unrolled loop instead.",
        "",
        *table(["", "data, ms", "step, s", "meta round, s", "whole, s", "step ×", "meta round ×", "whole ×"], rows, 1),
    ]
