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
    name: str,
    overrides: list[str],
    note_on_images: str | None,
) -> dict[str, Any]:
    """Return the benchmark's results as they are printed and written. Seconds, bytes, shares of 1.

    Args:
        tried: all settings, the given configuration first.
        best: the fastest safe one.
        details: answer of the given configuration, with its phases and convolution peaks.
        rule: condition under which a setting counts as safe.
        name: dataset, pair and loss.
        overrides: overrides of the given configuration.
        note_on_images: note that the images were generated; None if they are real.
    """
    assert tried[0].answer is not None, "the given configuration ran"
    answer = {**details, **{key: tried[0].answer[key] for key in ("step", "steps", "meta_round")}}
    copied = ["device", "threads", "data", "networks", "batch_size", "precision", "channels_last"]
    copied += ["epochs", "steps_per_epoch", "total_steps", "interval"]
    return {
        "what": name,
        "overrides": overrides,
        "code": code_version(),
        "libraries": library_versions(),
        **{key: answer[key] for key in copied},
        "generated_images": note_on_images,
        "images_per_second": images_per_second(answer),
        "seconds": _seconds(answer),
        "steps": answer["steps"],
        "phases": _phases(answer),
        "memory": answer["memory"],
        "memory_kind": answer["memory_kind"],
        **_rates(answer),
        "rule": rule,
        "settings": [_row(setting) for setting in tried],
        "best": {"overrides": list(best.overrides), "faster": best.faster},
    }


def images_per_second(answer: Mapping[str, Any]) -> float:
    """Return the rate of training, meta rounds included."""
    return float(answer["batch_size"] / step_seconds(answer))


def format_rate(images: float, unit: str = " images/s") -> str:
    """Format a rate: ``"2,159 images/s"``, ``"0.6 images/s"``."""
    return f"{images:,.{1 if images < 10 else 0}f}{unit}"


def one_line(setting: Tried) -> str:
    """Describe a setting and its outcome, as progress."""
    name = " ".join(setting.overrides) or "as given"
    rate = f"{format_rate(images_per_second(setting.answer))}, " if setting.answer else ""
    return f"{name}: {rate}{setting.outcome}" + (f": {setting.reason}" if setting.reason else "")


def _seconds(answer: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the seconds of each part of training, without evaluations and checkpoints."""
    rounds = -(-answer["total_steps"] // answer["interval"]) if answer["interval"] else 0
    return {
        "start": answer["start"],
        "step": answer["step"],
        "meta_round": answer["meta_round"],
        "epoch": answer["steps_per_epoch"] * step_seconds(answer),
        "recipe": answer["total_steps"] * answer["step"] + rounds * (answer["meta_round"] or 0.0),
    }


def _phases(answer: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of each phase of a step, with its share of a meta round, and their sum as ``whole``."""
    phases = dict(answer["phases"])
    if answer["meta_round"] is not None:
        phases["meta_round"] = answer["meta_round"] / answer["interval"]
    return {**phases, "whole": sum(phases.values())}


def _rates(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return multiply-adds per second of the best convolution, of a step and of a meta round, and their shares."""
    work, peaks = answer["multiply_adds"], answer["peaks"]
    rates = {"step": work["step"] * answer["batch_size"] / answer["step"]}
    best = {"step": peaks[answer["precision"]]}
    if answer["meta_round"] is not None:
        rates["meta_round"] = work["meta_round"] * answer["batch_size"] / answer["meta_round"]
        best["meta_round"] = peaks["float32"]  # the meta round runs in float32 at any training precision
    return {
        "convolution_peak": peaks,
        "multiply_adds_per_second": rates,
        "share_of_peak": {name: rate / best[name] for name, rate in rates.items()},
    }


def _row(setting: Tried) -> dict[str, Any]:
    answer, deviation = setting.answer, setting.deviation
    return {
        "overrides": list(setting.overrides),
        "outcome": setting.outcome,
        "reason": setting.reason,
        "step": answer and step_seconds(answer),
        "images_per_second": answer and images_per_second(answer),
        "faster": setting.faster,
        "memory": answer and answer["memory"],
        "deviation": deviation if deviation is not None and math.isfinite(deviation) else None,
        "start": answer and answer["start"] + answer["first_step"],
        "pixel_difference": answer and answer["pixel_difference"],
        "seconds": setting.seconds,
    }
