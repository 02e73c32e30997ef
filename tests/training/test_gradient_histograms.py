from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig

from mcl.training import trainer as module
from mcl.training.gradient_histograms import BINS, gradient_histograms
from mcl.training.setup import assemble

Composed = Callable[..., DictConfig]
SMALL = ("dataset=synthetic", "dataset.image_size=8", "tracking=none", "trainer.device=cpu")


def test_every_gradient_is_counted_once_in_the_part_of_its_parameter(composed: Composed) -> None:
    learner = assemble(composed(*SMALL, "+network@pair.third=resnet8")).learner
    assert gradient_histograms(learner) == {}  # before the first step
    trained = learner.trained_parameters()
    for parameter in trained:
        parameter.grad = torch.randn_like(parameter)
    histograms = gradient_histograms(learner)
    parts = [f"{key}/{part}" for key in ("first", "second", "third") for part in ("stem", "stage1", "stage2", "stage3")]
    assert {*parts, "first/head", "third/branches", "loss"} <= histograms.keys()
    assert sum(sum(each.counts) for each in histograms.values()) == sum(parameter.numel() for parameter in trained)
    for histogram in histograms.values():
        assert len(histogram.counts) == BINS == len(histogram.edges) - 1
        assert histogram.edges == sorted(histogram.edges)


def test_gradients_that_are_equal_or_not_finite_have_a_histogram(composed: Composed) -> None:
    learner = assemble(composed(*SMALL, "loss=independent")).learner
    for parameter in learner.trained_parameters():
        parameter.grad = torch.zeros_like(parameter)
    stem = next(learner.cohort.backbones[0].stem.parameters())
    assert stem.grad is not None
    stem.grad.view(-1)[0] = torch.nan
    counts = {name: sum(histogram.counts) for name, histogram in gradient_histograms(learner).items()}
    parameters = list(learner.cohort.backbones[0].stem.parameters())
    assert counts["first/stem"] == sum(parameter.numel() for parameter in parameters) - 1


def test_histograms_of_deterministic_runs_are_counted_on_the_host(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = assemble(composed(*SMALL, "loss=independent")).learner
    for parameter in learner.trained_parameters():
        parameter.grad = torch.randn_like(parameter)
    moved, cpu = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: moved.append(self) or cpu(self))
    plain = gradient_histograms(learner)
    assert moved == []
    torch.use_deterministic_algorithms(True)
    try:
        assert gradient_histograms(learner) == plain
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(moved) == len(plain)


def test_no_histogram_is_computed_unless_a_tracker_wants_it(
    command: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(learner: object) -> None:
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(module, "gradient_histograms", refuse)
    done = command("dataset=synthetic", "dataset.image_size=8", "trainer.max_steps=1", "loss=independent")
    assert done.status == 0  # type: ignore[attr-defined]
