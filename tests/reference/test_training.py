"""Training and the textbook agree in float64: every term of every step, every weight."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mcl.config.compose import compose_train
from mcl.data.normalization import Normalization
from mcl.errors import UserError
from mcl.reference.training import TextbookTraining
from mcl.reference.unrolled_gradient import meta_gradient, meta_gradient_by_copies
from mcl.signals import StopSignals
from mcl.tracking.tracker import Trackers
from mcl.training.setup import Parts, assemble
from mcl.training.trainer import Trainer

STEPS, SEED, TOLERANCE = 10, 3, 1e-9
SETTINGS = [  # 10 steps in 3 epochs of 4, 4 and 2
    *("dataset=synthetic", "dataset.image_size=8", "dataset.classes=5", "dataset.train_per_class=8"),
    *("dataset.test_per_class=1", "dataset.augmentation.padding=2", "dataset.augmentation.flip=true"),
    *("dataset.mean=[0.51,0.49,0.44]", "dataset.std=[0.27,0.26,0.28]", "pair=resnet8", f"seed={SEED}"),
    *("trainer.batch_size=10", "trainer.epochs=3", f"trainer.max_steps={STEPS}", "trainer.device=cpu"),
    *("trainer.precision=float32", "trainer.channels_last=false", "tracking=none", "optimizer.lr=0.02"),
]
INTERVAL = 4  # meta rounds at steps 0, 4 and 8


def build_parts(*overrides: str) -> Parts:
    parts = assemble(compose_train([*SETTINGS, *overrides]))
    parts.learner.double()
    return parts


class Trained:
    """The result of a training: the values of each step, and all tensors."""

    def __init__(self, parts: Parts, steps: Sequence[dict[str, float]]):
        self.steps = steps
        self.state = {name: tensor.clone() for name, tensor in parts.learner.state_dict().items()}


def in_float64(parts: Parts) -> Trainer:
    trainer = parts.build_trainer(parts.dataset.load(), seed=SEED)
    trainer.loader.normalize = Normalization(parts.dataset.mean, parts.dataset.std, device="cpu", dtype=torch.float64)
    parts.learner.cohort.register_forward_pre_hook(lambda _, images: images[0].double())  # of the evaluation
    return trainer


def trained(*overrides: str) -> Trained:
    """Train with the loop of `train.py`, including evaluations."""
    parts = build_parts(*overrides)
    trainer = in_float64(parts)
    step, seen = trainer.train_on_batch, []

    def watched(*arguments: object) -> dict[str, Tensor]:
        values = step(*arguments)
        named = {name.removeprefix("train/"): value.item() for name, value in values.items()}
        seen.append(
            named if trainer.state.outer_loss is None else {**named, "outer_loss": trainer.state.outer_loss.item()}
        )
        trainer.state.outer_loss = None
        return values

    trainer.train_on_batch = watched
    trainer.fit(None, Trackers(), StopSignals())
    return Trained(parts, seen)


def trained_by_the_textbook(*overrides: str, **options: Any) -> Trained:
    parts = build_parts(*overrides)
    training = TextbookTraining(parts, parts.dataset.load(), seed=SEED, **options)
    return Trained(parts, [training.step() for _ in range(STEPS)])


def close(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors are close, relative to the largest entry."""
    scale = max(float(expected.abs().max()), 1e-12)
    return float((actual - expected).abs().max()) <= TOLERANCE * scale


@pytest.mark.parametrize(
    ("overrides", "differentiate"),
    [
        pytest.param(["loss.meta.memory=keep", "pair.first.depths=[1,1]"], meta_gradient_by_copies, id="a pair"),
        pytest.param(
            ["loss.meta.memory=recompute", "+network@pair.third=wrn_10_1"],
            meta_gradient,
            id="three networks",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_ten_steps_with_meta_rounds_equal_the_textbook(overrides, differentiate):
    overrides = [*overrides, f"loss.meta.interval={INTERVAL}"]
    fast = trained(*overrides)
    textbook = trained_by_the_textbook(*overrides, meta_gradient=differentiate)
    assert len(fast.steps) == len(textbook.steps) == STEPS
    for step, (actual, expected) in enumerate(zip(fast.steps, textbook.steps, strict=True)):
        assert ("outer_loss" in actual) == ("outer_loss" in expected) == (step % INTERVAL == 0)
        assert expected.keys() <= actual.keys()
        for name, value in expected.items():
            tolerance = 1e-6 if name.startswith("top1/") else TOLERANCE  # accuracies are counted in float32
            assert actual[name] == pytest.approx(value, rel=tolerance), (step, name)
    start = build_parts(*overrides).learner.state_dict()
    assert fast.state.keys() == textbook.state.keys()
    for name, expected in textbook.state.items():
        assert close(fast.state[name], expected), name
        assert not close(start[name], expected), f"{name} has not moved"


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_equal_those_of_the_loader(channels):
    parts = build_parts(
        f"dataset.channels={channels}", f"dataset.mean={[0.4] * channels}", f"dataset.std={[0.3] * channels}"
    )
    trainer, training = in_float64(parts), TextbookTraining(parts, parts.dataset.load(), seed=SEED)
    for epoch in range(3):
        pairs = list(zip(trainer.loader.epoch(epoch), training.batches.epoch(epoch), strict=True))
        assert len(pairs) == 4
        for batch, textbook in pairs:
            assert torch.equal(batch.indices, textbook.indices)
            assert torch.equal(batch.labels, textbook.labels)
            torch.testing.assert_close(batch.images, textbook.images, rtol=0, atol=1e-12)


def test_meta_round_updates_only_the_matching():
    parts = build_parts()
    training = TextbookTraining(parts, parts.dataset.load(), seed=SEED)
    before = copy.deepcopy(parts.learner.state_dict())
    training.meta_round(next(training.order))
    for name, value in parts.learner.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("loss.matching."), name


@pytest.mark.parametrize(
    "override",
    [
        *("loss=mcl", "loss.meta=null", "loss/contrast=memory", "loss.direction=one_way", "loss.head_weight_decay=0"),
        *("trainer.clip_norm=1", "trainer.decay_norm_and_bias=false"),
    ],
)
def test_other_methods_are_refused(override):
    parts = build_parts(override)
    with pytest.raises(UserError, match="textbook"):
        TextbookTraining(parts, parts.dataset.load(), seed=SEED)
