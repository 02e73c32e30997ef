"""Fused optimizers: when they are used, and the memory layout that they need."""

import copy

import pytest
import torch
from torch import Tensor

from mcl.config.compose import compose_train
from mcl.training.setup import assemble
from mcl.training.trainer import Trainer

SMALL = [
    *("dataset=synthetic", "dataset.image_size=8", "dataset.train_per_class=4", "dataset.test_per_class=1"),
    *("dataset.classes=4", "trainer.batch_size=8", "trainer.device=cpu", "tracking=none", "loss=independent"),
]


def small(*overrides: str) -> Trainer:
    parts = assemble(compose_train([*SMALL, *overrides]))
    return parts.build_trainer(parts.dataset.load(), seed=0)


def step(trainer: Trainer) -> None:
    trainer.learner.train()
    trainer.train_on_batch(next(trainer.loader.epoch(0)))


@pytest.mark.parametrize(
    ("overrides", "fused"),
    [
        ([], True),
        (["optimizer=adamw"], True),
        (["+optimizer.fused=false"], False),
        (["+optimizer.foreach=true"], None),
        (["optimizer._target_=torch.optim.NAdam", "~optimizer.nesterov", "~optimizer.momentum"], None),
    ],
)
def test_optimizers_are_fused_by_default(overrides: list[str], fused: bool | None) -> None:
    (optimizer,) = small(*overrides).optimizers
    assert optimizer.defaults.get("fused") is fused


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_fused_step_equals_plain_step(name: str) -> None:
    plain, fused = small(f"optimizer={name}", "+optimizer.fused=false"), small(f"optimizer={name}")
    for trainer in (plain, fused):
        step(trainer)
    for one, other in zip(plain.train_step.parameters, fused.train_step.parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_optimizer_state_has_the_strides_of_the_parameters() -> None:
    before, after = small("trainer.channels_last=false"), small("trainer.channels_last=true")
    step(before)
    after.state.load_state_dict(before.state.state_dict())
    for resumed_parameter, saved_parameter in zip(
        after.train_step.parameters, before.train_step.parameters, strict=True
    ):
        built_up: Tensor = after.optimizers[0].state[resumed_parameter]["momentum_buffer"]
        assert built_up.stride() == resumed_parameter.stride()
        assert torch.equal(built_up, before.optimizers[0].state[saved_parameter]["momentum_buffer"])


def test_biases_and_normalization_can_be_left_without_weight_decay() -> None:
    trainer = small("trainer.decay_norm_and_bias=false", "optimizer.weight_decay=0.1")
    decayed, plain = trainer.optimizers[0].param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {parameter.dim() for parameter in decayed["params"]} == {2, 4}
    assert {parameter.dim() for parameter in plain["params"]} == {1}
    assert len(decayed["params"]) + len(plain["params"]) == len(trainer.learner.trained_parameters())
    step(trainer)


@pytest.mark.parametrize("loss", ["lmcl", "ffl"])
def test_modules_of_a_loss_are_left_without_weight_decay_too(loss: str) -> None:
    trainer = small("trainer.decay_norm_and_bias=false", f"loss={loss}")
    if trainer.meta_round is not None:
        for name, decay in trainer.meta_round.weight_decay.items():
            assert (decay > 0) == (trainer.learner.get_parameter(name).dim() > 1)
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            kinds = {parameter.dim() > 1 for parameter in group["params"]}
            assert kinds == {group["weight_decay"] > 0}


@pytest.mark.parametrize("loss", ["mcl", "lmcl"])
def test_projection_heads_decay_by_themselves(loss: str) -> None:
    trainer = small(f"loss={loss}", "loss.head_weight_decay=0.01", "optimizer.weight_decay=0.1")
    networks, heads = trainer.optimizers[0].param_groups
    assert (networks["weight_decay"], heads["weight_decay"]) == (0.1, 0.01)
    assert {id(each) for each in heads["params"]} == {id(each) for each in trainer.learner.loss.heads.parameters()}
    if trainer.meta_round is not None:
        decays = trainer.meta_round.weight_decay
        assert {decays[f"loss.{name}"] for name in trainer.learner.loss.inner_parameters()} == {0.01}
        assert {decay for name, decay in decays.items() if name.startswith("cohort.")} == {0.1}
    step(trainer)


@pytest.mark.parametrize("decay", ["true", "false"])
def test_logged_rate_has_no_factor_even_if_all_parts_have_one(decay: str) -> None:
    parts = ["optimizer.layer_decay=0.5", "optimizer.head_lr_factor=10", "optimizer.lr=0.1"]
    trainer = small(*parts, f"trainer.decay_norm_and_bias={decay}", "pair=single", "network@pair.first=resnet8")
    (optimizer,) = trainer.optimizers
    assert min(group["lr"] for group in optimizer.param_groups) == pytest.approx(0.1)  # factors apply from epoch 0 on
    trainer._set_learning_rate(0)
    rates = sorted({group["lr"] for group in optimizer.param_groups if group["params"]})
    assert rates == pytest.approx([0.1 / 16, 0.1 / 8, 0.1 / 4, 0.1 / 2, 1.0])
    assert trainer.learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_a_resumed_optimizer_takes_the_same_steps(name: str) -> None:
    whole, resumed = small(f"optimizer={name}"), small(f"optimizer={name}")
    for _ in range(2):
        step(whole)
    resumed.state.load_state_dict(copy.deepcopy(whole.state.state_dict()))
    for trainer in (whole, resumed):
        step(trainer)
    for one, other in zip(whole.train_step.parameters, resumed.train_step.parameters, strict=True):
        assert torch.equal(one, other)


def test_an_optimizer_of_timm_trains() -> None:
    trainer = small("optimizer=lamb", "trainer.decay_norm_and_bias=false")
    before = [parameter.clone() for parameter in trainer.train_step.parameters]
    step(trainer)
    assert type(trainer.optimizers[0]).__name__ == "Lamb"
    moved = [bool((one != other).any()) for one, other in zip(before, trainer.train_step.parameters, strict=True)]
    assert all(moved)
