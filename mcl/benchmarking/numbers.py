"""Figures derived from measurements: rates, shares, seconds per epoch."""

import math
from collections.abc import Mapping
from typing import Any

from mcl.benchmarking.settings import Tried, step_seconds
from mcl.version import code_version, library_versions


def summary(
    tried: list[Tried],
    best: Tried,
    details: Mapping[str, Any],
    rule: str,
    what: str,
    typed: list[str],
    generated: str | None,
) -> dict[str, Any]:
    """Everything the benchmark found, as it is shown and as it goes to the file. Seconds, bytes, shares of 1.

    Args:
        tried: the given configuration first; others behind it.
        best: the fastest safe one.
        details: what was measured of the given configuration beside its speed.
        rule: when a setting is called safe.
        what: dataset, pair and loss.
        typed: the overrides of the given configuration.
        generated: what is said of images that stand in for others; None where they are the real ones.
    """
    assert tried[0].answer is not None, "the given configuration ran"
    answer = {**details, **{name: tried[0].answer[name] for name in ("step", "steps", "meta_round")}}
    names = ["device", "threads", "data", "networks", "batch_size", "precision", "channels_last"]
    names += ["epochs", "steps_per_epoch", "total_steps", "interval"]
    return {
        "what": what,
        "overrides": typed,
        "code": code_version(),
        "libraries": library_versions(),
        **{name: answer[name] for name in names},
        "generated_images": generated,
        "images_per_second": images_per_second(answer),
        "seconds": seconds(answer),
        "steps": answer["steps"],
        "phases": phases(answer),
        "memory": answer["memory"],
        "memory_kind": answer["memory_kind"],
        **shares(answer),
        "rule": rule,
        "settings": [_row(one) for one in tried],
        "best": {"overrides": list(best.overrides), "faster": best.faster},
    }


def images_per_second(answer: Mapping[str, Any]) -> float:
    """Of training, meta rounds included."""
    return float(answer["batch_size"] / step_seconds(answer))


def seconds(answer: Mapping[str, Any]) -> dict[str, float | None]:
    """``{"start", "step", "meta_round", "epoch", "recipe"}``: evaluations and checkpoints come on top."""
    rounds = -(-answer["total_steps"] // answer["interval"]) if answer["interval"] else 0
    return {
        "start": answer["start"],
        "step": answer["step"],
        "meta_round": answer["meta_round"],
        "epoch": answer["steps_per_epoch"] * step_seconds(answer),
        "recipe": answer["total_steps"] * answer["step"] + rounds * (answer["meta_round"] or 0.0),
    }


def phases(answer: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of the phases of a step, of a meta round the part of one step, and ``whole``, which they add up to."""
    found = dict(answer["phases"])
    if answer["meta_round"] is not None:
        found["meta_round"] = answer["meta_round"] / answer["interval"]
    return {**found, "whole": sum(found.values())}


def shares(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Multiply-adds per second: of the best convolution, of a step, of a meta round; and as shares of the best."""
    work, peaks = answer["multiply_adds"], answer["peaks"]
    rates = {"step": work["step"] * answer["batch_size"] / answer["step"]}
    best = {"step": peaks[answer["precision"]]}
    if answer["meta_round"] is not None:
        rates["meta_round"] = work["meta_round"] * answer["batch_size"] / answer["meta_round"]
        best["meta_round"] = peaks["float32"]  # whatever the precision of training
    return {
        "convolution_peak": peaks,
        "multiply_adds_per_second": rates,
        "share_of_peak": {name: rate / best[name] for name, rate in rates.items()},
    }


def speed(images: float, unit: str = " images/s") -> str:
    """``"2,159 images/s"``, ``"0.6 images/s"``."""
    return f"{images:,.{1 if images < 10 else 0}f}{unit}"


def in_a_line(one: Tried) -> str:
    """What became of a setting, for progress."""
    name = " ".join(one.overrides) or "as given"
    ran = f"{speed(images_per_second(one.answer))}, " if one.answer else ""
    return f"{name}: {ran}{one.outcome}" + (f": {one.reason}" if one.reason else "")


def _row(one: Tried) -> dict[str, Any]:
    return {
        "overrides": list(one.overrides),
        "outcome": one.outcome,
        "reason": one.reason,
        "step": one.answer and step_seconds(one.answer),
        "images_per_second": one.answer and images_per_second(one.answer),
        "faster": one.faster,
        "memory": one.answer and one.answer["memory"],
        "deviation": one.deviation if one.deviation is not None and math.isfinite(one.deviation) else None,
        "start": one.answer and one.answer["start"] + one.answer["first_step"],
        "seconds": one.seconds,
    }
