"""The search for the fastest settings that are safe."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mcl.benchmarking.attempt import Attempt

COMPARED = 6  # steps whose losses are compared, the first ones: as many as are always run
TOLERANCE = 0.01
GAIN = 1.03
RULE = (
    f"A setting is safe when training started and went on, its memory fitted, and the loss of each of the first"
    f" {COMPARED} steps was within {TOLERANCE:.0%} of the same steps in float32, contiguous, not compiled."
)
REFERENCE = ("trainer.precision=float32", "trainer.channels_last=false", "trainer.compile=false")


@dataclass(frozen=True)
class Tried:
    """One setting and what became of it.

    Args:
        overrides: beside those that the person typed.
        outcome: ``safe``; ``unsafe``: it ran, but against the rule; ``failed``: it did not run.
        reason: why not safe; empty for a safe one.
        answer: of `mcl.benchmarking.measure.measure`, where it ran.
        deviation: largest relative difference of the losses compared, where it ran.
        seconds: that trying it took.
    """

    overrides: tuple[str, ...]
    outcome: Literal["safe", "unsafe", "failed"]
    reason: str
    answer: dict[str, Any] | None
    deviation: float | None
    seconds: float


def step_seconds(answer: Mapping[str, Any]) -> float:
    """Of a training step with its part of a meta round: what settings are compared by."""
    if answer["meta_round"] is None:
        return float(answer["step"])
    return float(answer["step"] + answer["meta_round"] / answer["interval"])


def alternatives(config: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[list[str]]:
    """Override by override, what could be chosen otherwise; what cannot be here is left out.

    Args:
        config: of the person, resolved.
        answer: of that configuration.
    """
    trainer, loss = config["trainer"], config["loss"]
    yield [f"trainer.precision={_other(trainer['precision'], 'float32', 'bfloat16')}"]
    yield [f"trainer.channels_last={str(not trainer['channels_last']).lower()}"]
    if answer["threads"] is not None:
        most = answer["most_threads"]
        yield [f"trainer.threads={n}" for n in sorted({1, max(1, most // 2), most} - {answer["threads"]})]
    if loss.get("meta"):
        yield [f"loss.meta.memory={_other(loss['meta'].get('memory', 'keep'), 'keep', 'recompute')}"]
    if "compile" in trainer:
        yield [f"trainer.compile={str(not trainer['compile']).lower()}"]


def search(
    config: Mapping[str, Any],
    given: Tried,
    reference: Sequence[float],
    measure: Callable[[Sequence[str]], Attempt],
    tell: Callable[[Tried], None],
) -> list[Tried]:
    """Try one change after the other on top of the fastest safe setting so far.

    Args:
        config: of the person, resolved.
        given: that configuration, tried.
        reference: losses that are right.
        measure: tries overrides beside those of the person.
        tell: told of each setting as soon as it was tried.

    Returns:
        All that was tried, the given one first.
    """
    assert given.answer is not None
    tried, best = [given], given
    for options in alternatives(config, given.answer):
        for option in options:
            overrides = (*best.overrides, option)
            now = judge(overrides, measure(overrides), reference)
            tried.append(now)
            tell(now)
            best = fastest([best, now])
    return tried


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
    if not deviation <= TOLERANCE:
        reason = f"losses up to {deviation:.1%} off"
    elif answer["memory"] and answer["usable_memory"] and answer["memory"] > answer["usable_memory"]:
        reason = "more memory than was free"
    return Tried(tuple(overrides), "unsafe" if reason else "safe", reason, answer, deviation, came.seconds)


def largest_deviation(losses: Sequence[float], reference: Sequence[float]) -> float:
    """Relative, over the first steps; infinite where a loss is not finite."""
    pairs = list(zip(losses[:COMPARED], reference[:COMPARED], strict=False))
    worst = max(abs(loss - right) / max(abs(right), 1e-9) for loss, right in pairs)
    return worst if all(math.isfinite(loss) for loss, _ in pairs) else math.inf


def _other(value: str, one: str, another: str) -> str:
    return another if value == one else one
