"""Multiply-adds of a run, against counts computed by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcl.studies.estimate import total_and_rate

RESNET8 = 12.5e6  # at 32 x 32, as published counts have it
SHORT = ["dataset=synthetic", "dataset.train_per_class=8", "dataset.test_per_class=2", "trainer.batch_size=8"]


def cost(command: Callable[..., Any], *overrides: str) -> dict[str, Any]:
    done = command(*SHORT, "hydra.run.dir=run", *overrides)
    assert done.status == 0, done.err
    summary: dict[str, Any] = json.loads(Path("run/summary.json").read_text())
    return summary


def test_one_network_alone_costs_three_forward_passes_an_image(command: Callable[..., Any]) -> None:
    summary = cost(command, "pair=single", "loss=independent", "trainer.max_steps=2")
    (network,) = summary["networks"]
    assert network["multiply_adds"] == pytest.approx(RESNET8, rel=0.01)
    assert network["parameters"] == 83_892 - 90 * 65  # the published count is of 100 classes
    assert summary["images"] == 16
    assert summary["multiply_adds"] == {
        "step": 3 * network["multiply_adds"],
        "meta_round": 0,
        "total": 16 * 3 * network["multiply_adds"],
    }


def test_branches_and_meta_rounds_count(command: Callable[..., Any]) -> None:
    summary = cost(command, "loss.meta.interval=2", "loss.meta.steps=1", "trainer.max_steps=3")
    costs = summary["multiply_adds"]
    assert costs["step"] > 2 * 3 * summary["networks"][0]["multiply_adds"]  # two networks, and their branches on top
    assert costs["meta_round"] == (3 * 3 + 2 * 6) * costs["step"] // 3  # 3 passes forward and back, 2 through those
    assert (
        costs["total"] == 24 * costs["step"] + 2 * 8 * costs["meta_round"]
    )  # rounds at steps 0 and 2, a batch of 8 each


def test_matching_weights_are_logged_between_stages_of_different_networks(command: Callable[..., Any]) -> None:
    cost(command, "loss.meta.interval=2", "loss.meta.steps=1", "trainer.max_steps=2")
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    names = sorted({name for line in lines for name in line if name.startswith("matching/")})
    heads = ("backbone", "stage1", "stage2")
    assert names == sorted(f"matching/first.{a}/second.{b}" for a in heads for b in heads)
    assert all(0.268 < value < 0.732 for line in lines for name, value in line.items() if name in names)


def test_fixed_matching_logs_no_weights(command: Callable[..., Any]) -> None:
    cost(command, "loss/matching=one", "trainer.max_steps=1")
    assert "matching/" not in Path("run/metrics.jsonl").read_text()


def test_estimate_of_a_study_counts_the_second_forward_pass_of_accumulation() -> None:
    job = [*SHORT, "loss=independent", "trainer.max_steps=2"]
    whole, chunks = (total_and_rate([*job, f"trainer.accumulate={n}"], measure=False)[0] for n in (1, 2))
    assert whole is not None
    assert chunks == whole * 4 // 3
