"""The search for settings: available, safe and fastest ones."""

from collections.abc import Sequence
from typing import Any

import pytest

from mcl.benchmarking.isolated import Measurement
from mcl.benchmarking.settings import ALTERNATIVES, COMPARED, Tried, fastest, joined, judge, largest_deviation, search

LOSSES = [10.0 - 0.5 * step for step in range(COMPARED)]
CONFIG: dict[str, Any] = {"trainer": {}, "loss": {"meta": {"memory": "keep"}}, "dataset": {"decode": "cpu"}}


def answer(step: float = 1.0, **changes: Any) -> dict[str, Any]:
    fields = {"step": step, "meta_round": None, "interval": None, "losses": LOSSES, "memory": 10, "usable_memory": 100}
    fields |= {"threads": 1, "most_threads": 2, "batch_size": 8, "precision": "float32", "channels_last": False}
    fields |= {"pixel_difference": None}
    return {**fields, **changes}


def setting_with(step: float = 1.0, **changes: Any) -> Measurement:
    return Measurement(answer(step, **changes), "", False, 1.0)


@pytest.mark.parametrize(
    ("measurement", "outcome", "reason"),
    [
        (setting_with(losses=[loss * 1.009 for loss in LOSSES]), "safe", ""),
        (setting_with(losses=[*LOSSES[:-1], LOSSES[-1] * 1.02]), "unsafe", "losses up to 2.0% off"),
        (setting_with(losses=[10.0, float("nan"), *LOSSES[2:]]), "unsafe", "a loss is not finite"),
        (setting_with(memory=101), "unsafe", "more memory than was free"),
        (Measurement(None, "killed by SIGKILL", False, 1.0), "failed", "killed by SIGKILL"),
    ],
)
def test_setting_is_safe_if_its_losses_match_the_reference(measurement: Measurement, outcome: str, reason: str) -> None:
    judged = judge(["trainer.threads=1"], measurement, LOSSES)
    assert (judged.outcome, judged.reason) == (outcome, reason)


def test_only_the_first_losses_are_compared() -> None:
    assert largest_deviation([*LOSSES, 99.0], [*LOSSES, 4.0]) == 0.0


def test_only_available_settings_are_tried() -> None:
    def overrides_to_try(config: dict[str, Any], **fields: Any) -> list[str]:
        return [override for alternatives in ALTERNATIVES for override in alternatives(config, answer(**fields))]

    assert overrides_to_try(CONFIG) == [
        "trainer.precision=bfloat16",
        "trainer.channels_last=true",
        "trainer.threads=2",
        "loss.meta.memory=recompute",
    ]
    compiling = {"trainer": {"compile": False}, "loss": {}, "dataset": {}}
    assert overrides_to_try(compiling, threads=None, most_threads=None, precision="bfloat16", channels_last=True) == [
        "trainer.precision=float32",
        "trainer.channels_last=false",
        "trainer.compile=true",
    ]
    files = {"trainer": {}, "loss": {}, "dataset": {"decode": "cpu", "storage": "disk"}}
    on_gpu = {"threads": None, "most_threads": None}
    assert overrides_to_try(files, **on_gpu)[-1] == "dataset.decode=gpu"
    files["dataset"]["storage"] = "memory"
    assert "dataset.decode=gpu" not in overrides_to_try(files, **on_gpu)


def test_search_builds_on_the_fastest_safe_setting() -> None:
    seconds = {"trainer.precision=bfloat16": 0.5, "trainer.channels_last=true": 0.6, "trainer.threads=2": 0.4}

    def measure(overrides: Sequence[str]) -> Measurement:
        if "loss.meta.memory=recompute" in overrides:
            return Measurement(None, "given up", False, 1.0)
        return setting_with(seconds[overrides[-1]] if overrides else 1.0)

    reported: list[Tried] = []
    tried, best = search(CONFIG, judge([], setting_with(1.0), LOSSES), LOSSES, measure, reported.append)
    assert tried[1:] == reported
    assert best.overrides == ("trainer.precision=bfloat16", "trainer.threads=2")
    assert tried[-1].overrides == ("trainer.precision=bfloat16", "trainer.threads=2", "loss.meta.memory=recompute")


def test_setting_that_only_ran_on_a_faster_machine_is_not_chosen() -> None:
    initial = judge([], setting_with(2.0), LOSSES)  # while others were busy; all that comes later takes half the time
    _, best = search(CONFIG, initial, LOSSES, lambda overrides: setting_with(1.0), lambda one: None)
    assert best.overrides == ()


@pytest.mark.parametrize("drift", [1.0, 0.9, 1.1])
def test_faster_compares_measurements_taken_in_turns(drift: float) -> None:
    """The comparison holds while the load of the machine changes."""
    taken: list[float] = []

    def measure(overrides: Sequence[str]) -> Measurement:
        seconds = {"trainer.channels_last=true": 0.5, "trainer.threads=2": 0.7}.get("".join(overrides[-1:]), 1.0)
        taken.append(seconds * drift ** len(taken))
        return setting_with(taken[-1])

    cold = judge([], setting_with(9.0), LOSSES)
    tried, best = search({"trainer": {}, "loss": {}, "dataset": {}}, cold, LOSSES, measure, lambda one: None)
    assert best.overrides == ("trainer.channels_last=true",)
    assert tried[0].answer == answer(1.0)
    assert [one.faster for one in tried] == [pytest.approx(true, rel=0.1) for true in (1, 1, 2, 1 / 0.7)]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_nothing_is_safe_if_the_reference_is_not_finite(wrong: float) -> None:
    judged = judge([], setting_with(), [10.0, 9.0, wrong, 7.0, 6.0, 5.0])
    assert (judged.outcome, judged.reason) == ("unsafe", "a loss of the reference is not finite")
    assert judge([], setting_with(losses=[wrong] * 6), [wrong] * 6).reason == "a loss is not finite"


def test_later_override_replaces_an_earlier_one() -> None:
    assert joined(["pair=resnet8", "trainer.threads=1"], ["trainer.threads=2"]) == ["pair=resnet8", "trainer.threads=2"]


def test_unsafe_settings_and_gains_within_the_noise_are_not_chosen() -> None:
    initial = judge([], setting_with(1.0), LOSSES)
    wrong = judge(["a=1"], setting_with(0.1, losses=[1.0] * 6), LOSSES)
    noise = judge(["b=1"], setting_with(0.98), LOSSES)
    assert fastest([initial, wrong, noise]) is initial
    assert fastest([wrong, noise, initial]) is noise


def test_meta_rounds_count_in_the_speed_of_a_setting() -> None:
    keep = judge([], setting_with(1.0, meta_round=10.0, interval=5), LOSSES)
    recompute = judge(["loss.meta.memory=recompute"], setting_with(1.1, meta_round=2.0, interval=5), LOSSES)
    assert fastest([keep, recompute]) is recompute
