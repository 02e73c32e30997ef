"""Whole training: steps with their data, and meta rounds, weighted by how often they occur."""

from pathlib import Path
from typing import Any

from measuring import Options, in_new_process, medians

from mcl.reports.markdown import table

TITLE = "Whole training"
COLUMNS = (": textbook, s", ": ours, s", " ×")


def measure(options: Options) -> dict[str, Any]:
    from trainings import WAYS

    return {way: in_new_process(compare_with_textbook, way, options) for way in WAYS}


def compare_with_textbook(way: str, options: Options) -> dict[str, Any]:
    """Return the seconds of both trainings, which take turns."""
    from trainings import CONTIGUOUS_FLOAT32, WAYS, Textbook, build_parts, cifar_like, ours

    from mcl.benchmarking import time_in_turns

    parts = build_parts([*cifar_like(options), *CONTIGUOUS_FLOAT32])
    splits = parts.dataset.load()
    textbook = Textbook(parts, splits)
    training = ours(build_parts([*cifar_like(options), *WAYS[way]]), splits)
    batches = next(textbook.batches), next(training.batches)
    data = {"textbook": lambda: next(textbook.batches), "ours": lambda: next(training.batches)}
    steps = {
        "textbook": lambda: textbook.step(next(textbook.batches)),
        "ours": lambda: training.step(next(training.batches)),
    }
    rounds = {"textbook": lambda: textbook.meta_round(batches[0]), "ours": lambda: training.meta_round(batches[1])}
    return {
        "interval": parts.learner.loss.meta.interval,
        "data": time_in_turns(data, options.repeats),
        "step": time_in_turns(steps, options.repeats),
        "meta_round": time_in_turns(rounds, options.rounds),
    }


def report(result: dict[str, Any], folder: Path) -> list[str]:
    options, rows = result["options"], []
    for way, measured in result["found"].items():
        data, step, rounds = (medians(measured[name]) for name in ("data", "step", "meta_round"))
        interval = measured["interval"]
        whole = {name: step[name] + rounds[name] / interval for name in step}
        cells = [cell for seconds in (step, rounds, whole) for cell in _cells(seconds)]
        rows.append([way, *cells])
    return [
        f"The {options['pair']} pair with L-MCL, batches of {options['batch']} images of {options['side']} x"
        f" {options['side']}, a meta round every {interval} steps. Each setting of ours takes turns with the textbook"
        f" in one process. A step includes its data (in the last row {1e3 * data['textbook']:.1f} ms for the textbook,"
        f" {1e3 * data['ours']:.1f} ms for ours); *whole* is a step and 1/{interval} of a meta round, which is in"
        " float32 in every row.",
        "",
        *table(
            ["ours", *(f"{name}{column}" for name in ("step", "meta round", "whole") for column in COLUMNS)], rows, 1
        ),
    ]


def _cells(seconds: dict[str, float]) -> list[str]:
    textbook, ours = seconds["textbook"], seconds["ours"]
    return [f"{textbook:.3g}", f"{ours:.3g}", f"{textbook / ours:.2f}"]
