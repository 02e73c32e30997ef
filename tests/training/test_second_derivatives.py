"""Operations without a second derivative are named before training; torchvision's networks are supported."""

import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from support.small_runs import META, ROUNDS, SMALL
from torch import Tensor, nn

from mcl.config.compose import compose_train
from mcl.errors import UserError
from mcl.networks.backbone import Backbone, Head
from mcl.networks.cohort import Cohort
from mcl.training.second_derivatives import check_twice_differentiable
from mcl.training.setup import assemble


class Attention(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        tokens = maps.flatten(2).mT[:, None].contiguous()  # one head
        return F.scaled_dot_product_attention(tokens, tokens, tokens)[:, 0].mT.reshape(maps.shape)


class Fused(nn.Module):
    """A kernel without a second derivative."""

    def forward(self, maps: Tensor) -> Tensor:
        squashed: Tensor = torch.ops.aten.hardsigmoid(maps)
        return squashed


class OnceOnly(nn.Module):
    """A layer with only a first derivative."""

    def forward(self, maps: Tensor) -> Tensor:
        twice: Tensor = _Doubled.apply(maps)
        return twice


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return 2 * grad


class Network(Backbone):
    """A convolution, normalization and dropout, and one more layer."""

    def __init__(self, layer: nn.Module, *, name: str):
        stage = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.3), layer]
        super().__init__(
            name=name,
            stem=nn.Identity(),
            stages=[nn.Sequential(*stage)],
            head=Head(6, 4),
            in_channels=1,
            stride=1,
        )


def cohort(*layers: nn.Module) -> Cohort:
    factories = {
        key: partial(Network, layer, name=f"of_{type(layer).__name__}")
        for key, layer in zip(("first", "second"), layers, strict=False)
    }
    return Cohort(factories, branched=False, seed=0)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Fused(), "hardsigmoid has no second derivative"),
        (OnceOnly(), "one of its functions is marked with once_differentiable"),
    ],
    ids=["fused", "own"],
)
def test_operation_without_second_derivative_is_named(layer: nn.Module, reason: str) -> None:
    name = f"of_{type(layer).__name__}"
    message = rf"^pair.second: {name} cannot be differentiated twice, .*: {reason}. Use loss/matching=one, [^\n]*$"
    with pytest.raises(UserError) as raised:
        check_twice_differentiable(cohort(nn.ReLU(), layer), 1, 8)
    assert re.search(message, str(raised.value))


@pytest.mark.parametrize(
    "layer", [nn.ReLU(), nn.Hardswish(), nn.Hardsigmoid(inplace=True), nn.SiLU(), nn.GELU(), Attention()]
)
def test_check_has_no_side_effects(layer: nn.Module) -> None:
    networks = cohort(layer, nn.ReLU())
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    random_state = torch.get_rng_state()
    check_twice_differentiable(networks, 1, 8)
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, value in networks.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in networks.parameters())


def test_frozen_network_passes() -> None:
    check_twice_differentiable(cohort(Fused()).requires_grad_(False), 1, 8)


def test_fixed_size_network_is_checked_with_its_image_size() -> None:
    class Flat(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return Fused()(maps + torch.zeros(8, 8))

    with pytest.raises(UserError, match="cannot be differentiated twice"):
        check_twice_differentiable(cohort(Flat()), 1, 8)


QUIET = [*SMALL, "trainer.device=cpu", "tracking=none"]


def test_mobilenetv3_trains_with_a_meta_round() -> None:
    networks = ["network@pair.first=resnet8", "network@pair.second=imagenet/mobilenetv3_small"]
    parts = assemble(compose_train([*QUIET, *ROUNDS, *networks, "dataset.image_size=32", "trainer.batch_size=8"]))
    trainer = parts.build_trainer(parts.dataset.load(), seed=0)
    trainer.learner.train()
    before = {name: value.detach().clone() for name, value in trainer.learner.named_parameters()}
    trainer.train_on_batch(next(iter(trainer.loader.epoch(0, start=0))))
    assert trainer.state.outer_loss is not None
    assert trainer.state.outer_loss.isfinite()
    after = dict(trainer.learner.named_parameters())
    assert all(value.isfinite().all() for value in after.values())
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    for part in ("loss.matching.", "cohort.networks.second."):
        assert any(name.startswith(part) for name in moved)


def test_run_without_second_derivatives_is_refused_before_reading_images(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Backbone.forward
    monkeypatch.setattr(Backbone, "forward", lambda self, x: torch.ops.aten.hardsigmoid(forward(self, x)))
    with pytest.raises(UserError, match=r"^pair.first: resnet8 .*: hardsigmoid has no second derivative"):
        assemble(compose_train([*QUIET, *META]))
    assemble(compose_train([*QUIET, "loss/matching=one"]))
