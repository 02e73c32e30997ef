"""Which settings are tried, which of them are safe, and which one is the fastest."""

from collections.abc import Sequence
from typing import Any

import pytest

from mcl.benchmarking.isolated import Attempt
from mcl.benchmarking.settings import ALTERNATIVES, Tried, fastest, joined, judge, largest_deviation, search

LOSSES = [10.0, 9.0, 8.0, 7.0, 6.0, 5.0]
CONFIG: dict[str, Any] = {"trainer": {}, "loss": {"meta": {"memory": "keep"}}}


def answer(step: float = 1.0, **others: Any) -> dict[str, Any]:
    found = {"step": step, "meta_round": None, "interval": None, "losses": LOSSES, "memory": 10, "usable_memory": 100}
    found |= {"threads": 1, "most_threads": 2, "batch_size": 8, "precision": "float32", "channels_last": False}
    return {**found, **others}


def ran(step: float = 1.0, **others: Any) -> Attempt:
    return Attempt(answer(step, **others), "", False, 1.0)


@pytest.mark.parametrize(
    ("came", "outcome", "reason"),
    [
        (ran(losses=[loss * 1.009 for loss in LOSSES]), "safe", ""),
        (ran(losses=[10.0, 9.0, 8.0, 7.0, 6.0, 5.1]), "unsafe", "losses up to 2.0% off"),
        (ran(losses=[10.0, float("nan"), 8.0, 7.0, 6.0, 5.0]), "unsafe", "a loss is not finite"),
        (ran(memory=101), "unsafe", "more memory than was free"),
        (Attempt(None, "killed by SIGKILL", False, 1.0), "failed", "killed by SIGKILL"),
    ],
)
def test_a_setting_is_safe_when_it_ran_and_its_losses_are_those_of_the_reference(
    came: Attempt, outcome: str, reason: str
) -> None:
    judged = judge(["trainer.threads=1"], came, LOSSES)
    assert (judged.outcome, judged.reason) == (outcome, reason)


def test_losses_beyond_the_first_steps_do_not_count() -> None:
    assert largest_deviation([*LOSSES, 99.0], [*LOSSES, 4.0]) == 0.0


def test_only_what_exists_here_is_tried() -> None:
    def everything(config: dict[str, Any], **found: Any) -> list[str]:
        return [override for some in ALTERNATIVES for override in some(config, answer(**found))]

    assert everything(CONFIG) == [
        "trainer.precision=bfloat16",
        "trainer.channels_last=true",
        "trainer.threads=2",
        "loss.meta.memory=recompute",
    ]
    compiling = {"trainer": {"compile": False}, "loss": {}}
    assert everything(compiling, threads=None, most_threads=None, precision="bfloat16", channels_last=True) == [
        "trainer.precision=float32",
        "trainer.channels_last=false",
        "trainer.compile=true",
    ]


def test_the_search_builds_on_what_was_safe_and_faster() -> None:
    seconds = {"trainer.precision=bfloat16": 0.5, "trainer.channels_last=true": 0.6, "trainer.threads=2": 0.4}

    def measure(overrides: Sequence[str]) -> Attempt:
        if "loss.meta.memory=recompute" in overrides:
            return Attempt(None, "given up", False, 1.0)
        return ran(seconds[overrides[-1]] if overrides else 1.0)

    told: list[Tried] = []
    tried, best = search(CONFIG, judge([], ran(1.0), LOSSES), LOSSES, measure, told.append)
    assert tried[1:] == told
    assert best.overrides == ("trainer.precision=bfloat16", "trainer.threads=2")
    assert tried[-1].overrides == ("trainer.precision=bfloat16", "trainer.threads=2", "loss.meta.memory=recompute")


def test_what_was_faster_because_the_machine_was_is_not_chosen() -> None:
    given = judge([], ran(2.0), LOSSES)  # while others were busy; all that comes later takes half the time
    _, best = search(CONFIG, given, LOSSES, lambda overrides: ran(1.0), lambda one: None)
    assert best.overrides == ()


@pytest.mark.parametrize("drift", [1.0, 0.9, 1.1])
def test_faster_compares_measurements_taken_in_turns(drift: float) -> None:
    """Also while other processes come to work on the machine, or leave it."""
    taken: list[float] = []

    def measure(overrides: Sequence[str]) -> Attempt:
        seconds = {"trainer.channels_last=true": 0.5, "trainer.threads=2": 0.7}.get("".join(overrides[-1:]), 1.0)
        taken.append(seconds * drift ** len(taken))
        return ran(taken[-1])

    cold = judge([], ran(9.0), LOSSES)
    tried, best = search({"trainer": {}, "loss": {}}, cold, LOSSES, measure, lambda one: None)
    assert best.overrides == ("trainer.channels_last=true",)
    assert tried[0].answer == answer(1.0)
    assert [one.faster for one in tried] == [pytest.approx(true, rel=0.1) for true in (1, 1, 2, 1 / 0.7)]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_nothing_is_safe_beside_a_reference_that_is_not_finite(wrong: float) -> None:
    judged = judge([], ran(), [10.0, 9.0, wrong, 7.0, 6.0, 5.0])
    assert (judged.outcome, judged.reason) == ("unsafe", "a loss of the reference is not finite")
    assert judge([], ran(losses=[wrong] * 6), [wrong] * 6).reason == "a loss is not finite"


def test_a_later_override_takes_the_place_of_an_earlier_one() -> None:
    assert joined(["pair=resnet8", "trainer.threads=1"], ["trainer.threads=2"]) == ["pair=resnet8", "trainer.threads=2"]


def test_unsafe_settings_and_gains_within_the_noise_are_not_chosen() -> None:
    given = judge([], ran(1.0), LOSSES)
    wrong = judge(["a=1"], ran(0.1, losses=[1.0] * 6), LOSSES)
    noise = judge(["b=1"], ran(0.98), LOSSES)
    assert fastest([given, wrong, noise]) is given
    assert fastest([wrong, noise, given]) is noise


def test_meta_rounds_count_in_the_speed_of_a_setting() -> None:
    keep = judge([], ran(1.0, meta_round=10.0, interval=5), LOSSES)
    recompute = judge(["loss.meta.memory=recompute"], ran(1.1, meta_round=2.0, interval=5), LOSSES)
    assert fastest([keep, recompute]) is recompute
