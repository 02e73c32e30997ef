"""Whole training: steps with their data, and meta rounds, weighted by how often they occur."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from measuring import Options, alternate, apart, medians

from mcl.reports.markdown import table

TITLE = "Whole training"
COLUMNS = (": textbook, s", ": ours, s", " ×")


def measure(options: Options) -> dict[str, Any]:
    from trainings import WAYS

    return {way: apart(beside_the_textbook, way=way, options=asdict(options)) for way in WAYS}


def beside_the_textbook(way: str, options: dict[str, Any]) -> dict[str, Any]:
    """Seconds of both, in turns."""
    from trainings import PLAIN, WAYS, Ours, Textbook, as_on_cifar, assembled

    sizes = Options(**options)
    parts = assembled([*as_on_cifar(sizes), *PLAIN])
    splits = parts.dataset.load()
    textbook, ours = Textbook(parts, splits), Ours(assembled([*as_on_cifar(sizes), *WAYS[way]]), splits)
    batches = next(textbook.batches), next(ours.batches)
    steps = {
        "textbook": lambda: textbook.step(next(textbook.batches)),
        "ours": lambda: ours.step(next(ours.batches)),
    }
    rounds = {"textbook": lambda: textbook.meta_round(batches[0]), "ours": lambda: ours.meta_round(batches[1])}
    return {
        "interval": parts.learner.loss.meta.interval,
        "data": alternate(
            {"textbook": lambda: next(textbook.batches), "ours": lambda: next(ours.batches)}, sizes.repeats
        ),
        "step": alternate(steps, sizes.repeats),
        "meta_round": alternate(rounds, sizes.rounds),
    }


def report(result: dict[str, Any], folder: Path) -> list[str]:
    options, rows = result["options"], []
    for way, found in result["found"].items():
        data, step, rounds = (medians(found[name]) for name in ("data", "step", "meta_round"))
        interval = found["interval"]
        whole = {name: step[name] + rounds[name] / interval for name in step}
        cells = [cell for of in (step, rounds, whole) for cell in _cells(of)]
        rows.append([way, *cells])
    return [
        f"The {options['pair']} pair by L-MCL, batches of {options['batch']} images of {options['side']} x"
        f" {options['side']}, a meta round every {interval} steps. Each way of ours takes turns with the textbook in a"
        f" process of their own. A step has its data in it (in the last row {1e3 * data['textbook']:.1f} ms of the"
        f" textbook's, {1e3 * data['ours']:.1f} of ours); *whole* is a step and 1/{interval} of a meta round, which is"
        " in float32 in every row.",
        "",
        *table(["ours", *(f"{name}{of}" for name in ("step", "meta round", "whole") for of in COLUMNS)], rows, 1),
    ]


def _cells(seconds: dict[str, float]) -> list[str]:
    textbook, ours = seconds["textbook"], seconds["ours"]
    return [f"{textbook:.3g}", f"{ours:.3g}", f"{textbook / ours:.2f}"]
