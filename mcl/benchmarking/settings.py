"""The search for the fastest safe settings."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mcl.benchmarking.isolated import Measurement

Config = Mapping[str, Any]  # the user's, resolved
Answer = Mapping[str, Any]  # result of `mcl.benchmarking.measure.measure` with the fastest setting so far

WARM_UP = 6  # steps that are not timed: the fourth to sixth record CUDA graphs
LEAST = 3  # steps that are timed, the fewest
COMPARED = WARM_UP + LEAST  # the first steps, whose losses are compared: every setting takes at least these
TOLERANCE = 0.01
GAIN = 1.05
RULE = (
    f"A setting is safe if training ran, its memory fitted, and the loss of each of the first {COMPARED} steps was"
    f" within {TOLERANCE:.0%} of the same steps in float32, not compiled."
)
NO_REFERENCE = (
    "Float32, not compiled, did not run here, so losses were compared with those of the given settings: safe only means"
    " as good as these."
)
REFERENCE = ("trainer.precision=float32", "trainer.compile=false")


@dataclass(frozen=True)
class Tried:
    """One setting and its outcome.

    Args:
        overrides: overrides in addition to the user's.
        outcome: ``safe``; ``unsafe``: it ran, but against the rule; ``failed``: it did not run.
        reason: why it is not safe; empty for a safe one.
        answer: result of `mcl.benchmarking.measure.measure`; None if it did not run.
        deviation: largest relative difference of the compared losses; infinite if one is not finite.
        seconds: duration of the measurement.
        faster: speed relative to the given settings, measured in turns; None if it did not run.
    """

    overrides: tuple[str, ...]
    outcome: Literal["safe", "unsafe", "failed"]
    reason: str
    answer: dict[str, Any] | None
    deviation: float | None
    seconds: float
    faster: float | None = None


def step_seconds(answer: Answer) -> float:
    """Return the seconds of a training step with its share of a meta round, by which settings are compared."""
    if answer["meta_round"] is None:
        return float(answer["step"])
    return float(answer["step"] + answer["meta_round"] / answer["interval"])


def _precisions(config: Config, answer: Answer) -> list[str]:
    return [f"trainer.precision={_other(answer['precision'], 'float32', 'bfloat16')}"]


def _memory_formats(config: Config, answer: Answer) -> list[str]:
    return [f"trainer.channels_last={_other(answer['channels_last'], 'false', 'true')}"]


def _threads(config: Config, answer: Answer) -> list[str]:
    """Return overrides for one thread, half of the threads and all threads, on a CPU."""
    most = answer["most_threads"]
    counts = {1, max(1, most // 2), most} if most else set()
    return [f"trainer.threads={count}" for count in sorted(counts - {answer["threads"]})]


def _meta_memory(config: Config, answer: Answer) -> list[str]:
    meta = config["loss"].get("meta")
    return [f"loss.meta.memory={_other(meta.get('memory', 'keep'), 'keep', 'recompute')}"] if meta else []


def _compilation(config: Config, answer: Answer) -> list[str]:
    trainer = config["trainer"]
    return [f"trainer.compile={_other(trainer['compile'], 'false', 'true')}"] if "compile" in trainer else []


def _decoding(config: Config, answer: Answer) -> list[str]:
    """Return the other place to decode image files, on a GPU."""
    dataset = config["dataset"]
    if answer["threads"] is not None or "decode" not in dataset or dataset.get("storage") == "memory":
        return []
    return [f"dataset.decode={_other(dataset['decode'], 'cpu', 'gpu')}"]


def _other(value: object, one: str, another: str) -> str:
    return another if str(value).lower() == one else one


ALTERNATIVES = (
    _precisions,
    _memory_formats,
    _threads,
    _meta_memory,
    _compilation,
    _decoding,
)  # each gives overrides to try


def search(
    config: Config,
    given: Tried,
    reference: Sequence[float],
    measure: Callable[[Sequence[str]], Measurement],
    on_tried: Callable[[Tried], None],
) -> tuple[list[Tried], Tried]:
    """Try one change after another on top of the fastest safe setting so far.

    Speeds are compared between measurements taken in turns. The given settings are measured again, because the first
    measurement found a cold machine. Each change is measured between two measurements of the fastest setting so far,
    and must beat both.

    Args:
        config: the user's configuration, resolved.
        given: result of the given configuration.
        reference: the losses to compare with.
        measure: tries overrides, added to the user's.
        on_tried: called with each setting as soon as it was tried.

    Returns:
        All settings, the given one first, and the fastest safe one.
    """
    assert given.answer is not None

    def measure_again(setting: Tried) -> Tried:
        again = judge(setting.overrides, measure(setting.overrides), reference)
        return replace(again if again.answer is not None else setting, faster=setting.faster)

    best = measure_again(replace(given, faster=1.0))
    tried = [best]
    for alternatives in ALTERNATIVES:
        assert best.answer is not None
        for option in alternatives(config, best.answer):
            overrides = joined(best.overrides, [option])
            setting = judge(overrides, measure(overrides), reference)
            before, after = best, best if setting.answer is None else measure_again(best)
            setting = replace(setting, faster=_faster(setting, before, after))
            tried.append(setting)
            on_tried(setting)
            best = setting if all(fastest([other, setting]) is setting for other in (before, after)) else after
    return tried, best


def _faster(setting: Tried, before: Tried, after: Tried) -> float | None:
    """Return the speed relative to the given settings, from measurements of the best setting before and after."""
    if setting.answer is None or before.answer is None or after.answer is None or before.faster is None:
        return None
    best = (step_seconds(before.answer) + step_seconds(after.answer)) / 2
    return before.faster * best / step_seconds(setting.answer)


def joined(overrides: Sequence[str], further: Sequence[str]) -> list[str]:
    """Return all overrides, without those that ``further`` replaces."""
    replaced = {override.partition("=")[0] for override in further}
    kept = [override for override in overrides if override.lstrip("+").partition("=")[0] not in replaced]
    return [*kept, *further]


def fastest(tried: Sequence[Tried]) -> Tried:
    """Return the fastest safe setting; a later one must gain more than the noise."""
    best = tried[0]
    for other in tried[1:]:
        if _cost(best) > GAIN * _cost(other):
            best = other
    return best


def _cost(setting: Tried) -> float:
    if setting.answer is None or setting.outcome != "safe":
        return math.inf
    return step_seconds(setting.answer)


def judge(overrides: Sequence[str], measurement: Measurement, reference: Sequence[float]) -> Tried:
    """Judge a setting by `RULE`."""
    answer, seconds = measurement.answer, measurement.seconds
    if answer is None:
        return Tried(tuple(overrides), "failed", measurement.reason, None, None, seconds)
    deviation = largest_deviation(answer["losses"], reference)
    reason = ""
    if not all(map(math.isfinite, answer["losses"][:COMPARED])):
        reason = "a loss is not finite"
    elif math.isinf(deviation):
        reason = "a loss of the reference is not finite"
    elif deviation > TOLERANCE:
        reason = f"losses up to {deviation:.1%} off"
    elif answer["memory"] and answer["usable_memory"] and answer["memory"] > answer["usable_memory"]:
        reason = "more memory than was free"
    return Tried(tuple(overrides), "unsafe" if reason else "safe", reason, answer, deviation, seconds)


def largest_deviation(losses: Sequence[float], reference: Sequence[float]) -> float:
    """Return the largest relative difference over the first steps; infinite without losses or if one is not finite."""
    pairs = list(zip(losses[:COMPARED], reference[:COMPARED], strict=False))
    if not pairs or not all(map(math.isfinite, itertools.chain(*pairs))):
        return math.inf
    return max(abs(loss - expected) / max(abs(expected), 1e-9) for loss, expected in pairs)
