"""``loss.direction``: who learns from whom."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mcl.errors import UserError
from mcl.losses.base import MetaSchedule
from mcl.losses.dml import DML
from mcl.losses.kdcl import KDCL
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import FixedMatching, LayerMatching
from mcl.losses.mcl import MCL
from mcl.types import Batch, NetworkShape, Outputs

STAGES, WIDTH, CLASSES, IMAGES = 2, 6, 4, 8
SHAPES = [NetworkShape([WIDTH] * STAGES, [WIDTH] * STAGES, CLASSES)] * 2
WIDTHS = [[WIDTH] * STAGES] * 2
LOSSES: dict[str, Callable[..., Any]] = {
    **{f"dml {form}": lambda form=form, **options: DML(shapes=SHAPES, form=form, **options) for form in DML.forms},
    **{f"kdcl {form}": lambda form=form, **options: KDCL(shapes=SHAPES, form=form, **options) for form in KDCL.forms},
    "mcl": lambda **options: MCL(widths=WIDTHS, dim=8, weights={"distillation": 1.0}, **options),
    "lmcl": lambda **options: LMCL(widths=WIDTHS, dim=8, matching=FixedMatching, meta=None, **options),
}
every = pytest.mark.parametrize("name", LOSSES)


def outputs_and_batch() -> tuple[list[Outputs], Batch]:
    generator = torch.Generator().manual_seed(0)

    def draw(width: int) -> list[torch.Tensor]:
        return [torch.randn(IMAGES, width, generator=generator).requires_grad_() for _ in range(STAGES)]

    labels = torch.arange(IMAGES) % CLASSES
    outputs = [Outputs(draw(WIDTH), draw(CLASSES)) for _ in range(2)]
    return outputs, Batch(torch.empty(IMAGES, 1), labels, torch.arange(IMAGES))


def gradients(name: str, direction: str) -> list[list[torch.Tensor]]:
    """Return the gradients of the terms between networks, by network."""
    outputs, batch = outputs_and_batch()
    torch.manual_seed(0)
    loss = LOSSES[name](direction=direction)
    terms = loss(outputs, batch)
    total = sum(value for term, value in terms.items() if term != "classification")
    tensors = [[*network.features, *network.logits] for network in outputs]
    flat = torch.autograd.grad(total, [each for network in tensors for each in network], allow_unused=True)
    found = [torch.zeros(()) if each is None else each for each in flat]
    return [found[: len(tensors[0])], found[len(tensors[0]) :]]


@every
def test_one_way_teaches_the_first_network_alone(name: str) -> None:
    mutual, one_way = gradients(name, "mutual"), gradients(name, "one_way")
    assert any(each.abs().sum() > 0 for each in mutual[1])
    assert all(each.abs().sum() == 0 for each in one_way[1])
    for before, after in zip(mutual[0], one_way[0], strict=True):
        torch.testing.assert_close(before, after)


@pytest.mark.parametrize("attach", [True, False])
@pytest.mark.parametrize("direction", ["mutual", "one_way"])
def test_networks_that_only_teach_take_no_part_in_the_inner_objective(direction: str, attach: bool) -> None:
    outputs, batch = outputs_and_batch()
    meta = MetaSchedule(attach_features=attach)
    loss = LMCL(widths=WIDTHS, dim=8, matching=LayerMatching, meta=meta, direction=direction)
    first, second = (network.features[-1] for network in outputs)
    objective = loss.inner_objective(outputs, batch)
    learned, taught = torch.autograd.grad(objective, [first, second], allow_unused=True)
    assert learned is not None
    assert (taught is None) == (direction == "one_way")


@every
def test_unknown_directions_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"loss\.direction=one-way.*Did you mean 'one_way'"):
        LOSSES[name](direction="one-way")


def test_attached_targets_have_no_direction() -> None:
    with pytest.raises(UserError, match=r"loss\.direction=one_way: loss\.reproduce_official_bug=true"):
        DML(shapes=SHAPES, form="okddip_repo", reproduce_official_bug=True, direction="one_way")
