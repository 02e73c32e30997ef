"""The search for the fastest settings that are safe."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mcl.benchmarking.isolated import Attempt

Config = Mapping[str, Any]  # of the person, resolved
Answer = Mapping[str, Any]  # of `mcl.benchmarking.measure.measure`, for the setting that others are tried on top of

WARM_UP, LEAST = 3, 3  # steps that do not count, and steps that do, however long they take
COMPARED = WARM_UP + LEAST  # the first steps, whose losses are compared: as many as are always run
TOLERANCE = 0.01
GAIN = 1.05
RULE = (
    f"A setting is safe when training started and went on, its memory fitted, and the loss of each of the first"
    f" {COMPARED} steps was within {TOLERANCE:.0%} of the same steps in float32, not compiled."
)
NO_REFERENCE = (
    "Float32, not compiled, did not run here, so losses were compared with those of the settings given: safe means no"
    " more than as good as these."
)
REFERENCE = ("trainer.precision=float32", "trainer.compile=false")


@dataclass(frozen=True)
class Tried:
    """One setting and what became of it.

    Args:
        overrides: beside those that the person typed.
        outcome: ``safe``; ``unsafe``: it ran, but against the rule; ``failed``: it did not run.
        reason: why not safe; empty for a safe one.
        answer: of `mcl.benchmarking.measure.measure`, where it ran.
        deviation: largest relative difference of the losses compared, where it ran; infinite if one is not finite.
        seconds: that trying it took.
        faster: how many times as fast as the given settings, by measurements taken in turns, where it ran.
    """

    overrides: tuple[str, ...]
    outcome: Literal["safe", "unsafe", "failed"]
    reason: str
    answer: dict[str, Any] | None
    deviation: float | None
    seconds: float
    faster: float | None = None


def step_seconds(answer: Answer) -> float:
    """Of a training step with its part of a meta round: what settings are compared by."""
    if answer["meta_round"] is None:
        return float(answer["step"])
    return float(answer["step"] + answer["meta_round"] / answer["interval"])


def precisions(config: Config, answer: Answer) -> list[str]:
    """The other precision."""
    return [f"trainer.precision={_other(answer['precision'], 'float32', 'bfloat16')}"]


def memory_formats(config: Config, answer: Answer) -> list[str]:
    """The other memory format."""
    return [f"trainer.channels_last={_other(answer['channels_last'], 'false', 'true')}"]


def threads(config: Config, answer: Answer) -> list[str]:
    """One thread, half of them, all; of a GPU none."""
    most = answer["most_threads"]
    counts = {1, max(1, most // 2), most} if most else set()
    return [f"trainer.threads={count}" for count in sorted(counts - {answer["threads"]})]


def meta_modes(config: Config, answer: Answer) -> list[str]:
    """The other way to hold the graphs of a meta round, where there is one."""
    meta = config["loss"].get("meta")
    return [f"loss.meta.memory={_other(meta.get('memory', 'keep'), 'keep', 'recompute')}"] if meta else []


def compilation(config: Config, answer: Answer) -> list[str]:
    """Compiled or not."""
    trainer = config["trainer"]
    return [f"trainer.compile={_other(trainer['compile'], 'false', 'true')}"] if "compile" in trainer else []


ALTERNATIVES = (precisions, memory_formats, threads, meta_modes, compilation)


def search(
    config: Config,
    given: Tried,
    reference: Sequence[float],
    measure: Callable[[Sequence[str]], Attempt],
    tell: Callable[[Tried], None],
) -> tuple[list[Tried], Tried]:
    """Try one change after the other on top of the fastest safe setting so far.

    Speeds are compared between measurements taken in turns: that of the given settings which came first, on a cold
    machine, is taken again, and each change is measured between two measurements of the fastest setting so far, both of
    which it must beat.

    Args:
        config: of the person, resolved.
        given: that configuration, tried.
        reference: losses that are right.
        measure: tries overrides beside those of the person.
        tell: told of each setting as soon as it was tried.

    Returns:
        All that was tried, the given one first, and the fastest safe setting.
    """
    assert given.answer is not None

    def once_more(one: Tried) -> Tried:
        again = judge(one.overrides, measure(one.overrides), reference)
        return replace(again if again.answer is not None else one, faster=one.faster)

    best = once_more(replace(given, faster=1.0))
    tried = [best]
    for alternatives in ALTERNATIVES:
        assert best.answer is not None
        for option in alternatives(config, best.answer):
            overrides = joined(best.overrides, [option])
            now = judge(overrides, measure(overrides), reference)
            before, after = best, best if now.answer is None else once_more(best)
            now = replace(now, faster=_faster(now, before, after))
            tried.append(now)
            tell(now)
            best = now if all(fastest([other, now]) is now for other in (before, after)) else after
    return tried, best


def _faster(one: Tried, before: Tried, after: Tried) -> float | None:
    """How many times as fast as the given settings, by two measurements of another setting, around that of this one."""
    if one.answer is None or before.answer is None or after.answer is None or before.faster is None:
        return None
    others = (step_seconds(before.answer) + step_seconds(after.answer)) / 2
    return before.faster * others / step_seconds(one.answer)


def joined(overrides: Sequence[str], further: Sequence[str]) -> list[str]:
    """Overrides, less those that later ones replace."""
    replaced = {override.partition("=")[0] for override in further}
    return [one for one in overrides if one.lstrip("+").partition("=")[0] not in replaced] + [*further]


def fastest(tried: Sequence[Tried]) -> Tried:
    """The safe setting that takes least time; an earlier one unless a later one gains more than the noise would."""
    best = tried[0]
    for other in tried[1:]:
        if _cost(best) > GAIN * _cost(other):
            best = other
    return best


def _cost(one: Tried) -> float:
    return step_seconds(one.answer) if one.answer is not None and one.outcome == "safe" else math.inf


def judge(overrides: Sequence[str], came: Attempt, reference: Sequence[float]) -> Tried:
    """By the rule of this module (`RULE`)."""
    answer = came.answer
    if answer is None:
        return Tried(tuple(overrides), "failed", came.reason, None, None, came.seconds)
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
    return Tried(tuple(overrides), "unsafe" if reason else "safe", reason, answer, deviation, came.seconds)


def largest_deviation(losses: Sequence[float], reference: Sequence[float]) -> float:
    """Relative, over the first steps; infinite if a loss on either side is not finite, or there are none."""
    pairs = list(zip(losses[:COMPARED], reference[:COMPARED], strict=False))
    if not pairs or not all(map(math.isfinite, itertools.chain(*pairs))):
        return math.inf
    return max(abs(loss - right) / max(abs(right), 1e-9) for loss, right in pairs)


def _other(value: object, one: str, another: str) -> str:
    return another if str(value).lower() == one else one
