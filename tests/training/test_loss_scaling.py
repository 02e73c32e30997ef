"""float16: the loss is scaled, steps whose gradients overflow are skipped, and a resumed run continues exactly."""

from typing import Any

import pytest
import torch
from support.small_runs import SMALL, assert_same
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mcl.config.compose import compose_train
from mcl.errors import UserError
from mcl.training.meters import NonFiniteLoss
from mcl.training.setup import assemble
from mcl.training.trainer import Trainer
from mcl.types import Batch

INDEPENDENT = ["loss=independent", "pair=single"]


def trainer_of(*overrides: str, scale: float | None = None) -> Trainer:
    options = [*SMALL, *INDEPENDENT, "trainer.device=cpu", "trainer.precision=float16", "tracking=none", *overrides]
    parts = assemble(compose_train(options))
    trainer = parts.build_trainer(parts.dataset.load(), seed=0)
    if scale is not None:
        set_scale(trainer, scale)
    trainer.learner.train()
    return trainer


def set_scale(trainer: Trainer, scale: float) -> None:
    assert trainer.state.scaling is not None
    trainer.state.scaling.load_state_dict(trainer.state.scaling.state_dict() | {"scale": scale})


def batches(trainer: Trainer) -> list[Batch]:
    return list(trainer.loader.epoch(0))


def weights(trainer: Trainer) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in trainer.train_step.parameters]


def test_first_step_is_near_that_in_float32() -> None:
    half, single = trainer_of(), trainer_of("trainer.precision=float32")
    values = [each.train_step(batches(each)[0]) for each in (half, single)]
    for name in ("train/total", "train/grad_norm"):
        torch.testing.assert_close(values[0][name], values[1][name], rtol=0.02, atol=0)
    assert values[0]["train/loss_scale"] == 65536
    assert values[0]["train/skipped"] == 0
    assert half.learner.cohort.backbones[0].head.classifier.weight.dtype == torch.float32


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_overflowing_steps_are_skipped_entirely(optimizer: str) -> None:
    trainer, plain = (trainer_of(f"optimizer={optimizer}", "trainer.clip_norm=1") for _ in range(2))
    first, second, *_ = batches(trainer)
    set_scale(trainer, 2.0**100)
    before = weights(trainer)
    for skipped in range(2):  # the very first step too, before the optimizer has a state
        values = trainer.train_step(first)
        assert values["train/skipped"] == 1
        assert values["train/grad_norm"] == 0
        assert values["train/loss_scale"] == 2.0 ** (100 - skipped)
        trainer.meters.update(values, skipped)
        assert_same(before, weights(trainer), "weights")
    trainer.meters.read()  # no loss is called infinite
    for name, buffer in plain.learner.cohort.named_buffers():  # batch statistics are those of all forward passes
        buffer.copy_(dict(trainer.learner.cohort.named_buffers())[name])
    for each in (trainer, plain):
        set_scale(each, 256.0)
        assert each.train_step(second)["train/skipped"] == 0
    assert_same(weights(plain), weights(trainer), "weights")
    assert all(not torch.equal(*pair) for pair in zip(before, weights(trainer), strict=True))


def test_gradients_are_clipped_after_unscaling() -> None:
    free, clipped = trainer_of(), trainer_of("trainer.clip_norm=0.01")
    norms = [each.train_step(batches(each)[0])["train/grad_norm"] for each in (free, clipped)]
    assert torch.equal(*norms)
    assert norms[0] > 0.1
    gradients = [parameter.grad for parameter in clipped.train_step.parameters if parameter.grad is not None]
    assert torch.nn.utils.get_total_norm(gradients) == pytest.approx(0.01, rel=1e-3)


def test_gradients_that_are_not_finite_at_any_scale_end_training() -> None:
    trainer = trainer_of(scale=1.0)
    first = batches(trainer)[0]
    parameter = trainer.train_step.parameters[0]
    parameter.register_hook(lambda gradient: gradient * torch.inf)
    trainer.meters.update(trainer.train_step(first), 0)
    with pytest.raises(NonFiniteLoss, match="grad_norm"):
        trainer.meters.read()


def test_a_resumed_run_continues_bit_for_bit() -> None:
    whole, stopped, resumed = (trainer_of(scale=2.0**100) for _ in range(3))
    set_scale(resumed, 8.0)
    for trainer, taken in ((whole, batches(whole)), (stopped, batches(stopped)[:2])):
        for batch in taken:
            trainer.train_step(batch)
    resumed.state.load_state_dict(stopped.state.state_dict())
    for batch in batches(resumed)[2:]:
        resumed.train_step(batch)
    states = [trainer.state.state_dict() for trainer in (whole, resumed)]
    for part in ("learner", "optimizers", "loss_scaling"):
        assert_same(states[0][part], states[1][part], part)
    assert states[0]["loss_scaling"]["scale"] == 2.0**95


def test_checkpoints_of_other_precisions_hold_no_scale() -> None:
    single = trainer_of("trainer.precision=float32")
    assert "loss_scaling" not in single.state.state_dict()
    half = trainer_of()
    half.state.load_state_dict(single.state.state_dict())  # resume=force with another precision
    assert half.train_step(batches(half)[0])["train/loss_scale"] == 65536


def test_a_step_reads_no_value() -> None:
    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert operator is not torch.ops.aten._local_scalar_dense.default
            return operator(*args, **(kwargs or {}))

    trainer = trainer_of("trainer.clip_norm=1", scale=2.0**100)
    first = batches(trainer)[0]
    trainer.train_step(first)  # the scale moves to the device
    with Reads():
        assert_skipped = trainer.train_step(first)["train/skipped"]
    assert assert_skipped == 1


def test_optimizers_that_cannot_skip_on_the_device_are_refused() -> None:
    with pytest.raises(UserError, match=r"trainer\.precision=float16: SGD is not fused on cpu"):
        trainer_of("+optimizer.fused=false")
