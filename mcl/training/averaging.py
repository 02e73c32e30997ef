"""An exponential moving average (EMA) of the networks over training steps."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.networks.cohort import Cohort
from mcl.runs.layout import AVERAGE, COHORT, deployed_prefix


def check_average(ema: float | None, loss: Loss) -> None:
    """Raise UserError if both ``trainer.ema`` and the loss ask for an average."""
    if ema is not None and loss.needs_ema:
        raise UserError(
            f"trainer.ema={ema}: loss {type(loss).__name__} averages the networks itself. Use trainer.ema=null."
        )


def start_average(cohort: Cohort) -> Cohort:
    """Return a copy of the networks at their present weights, which no optimizer trains."""
    average = copy.deepcopy(cohort)
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    return average


def match_average(weights: Mapping[str, Tensor], *, wanted: bool) -> dict[str, Tensor]:
    """Return the weights of a checkpoint with an average, or without one.

    They differ from those of the checkpoint only if ``resume=force`` changes ``trainer.ema``. A new average starts at
    the networks.
    """
    matched = {name: tensor for name, tensor in weights.items() if wanted or not name.startswith(AVERAGE)}
    if wanted and deployed_prefix(weights) == COHORT:
        cohort = [name for name in weights if name.startswith(COHORT)]
        matched |= {AVERAGE + name.removeprefix(COHORT): weights[name] for name in cohort}
    return matched


@torch.no_grad()
def update_average(average: Cohort, cohort: Cohort, decay: float, *, buffers: bool) -> None:
    """Move the average towards the networks, ``average = decay * average + (1 - decay) * networks``.

    Frozen networks stay as they are.

    Args:
        average: changed in place.
        cohort: the networks after a step.
        decay: from 0, which copies the networks, to 1.
        buffers: average their batch statistics too, and copy their counters; otherwise the average collects its own.
    """
    pairs = list(zip(_trained(average, buffers), _trained(cohort, buffers), strict=True))
    averaged = [(old, new) for old, new in pairs if old.is_floating_point()]
    torch._foreach_lerp_([old for old, _ in averaged], [new for _, new in averaged], 1 - decay)
    counters = [(old, new) for old, new in pairs if not old.is_floating_point()]
    if counters:
        torch._foreach_copy_([old for old, _ in counters], [new for _, new in counters])


def _trained(cohort: Cohort, buffers: bool) -> list[Tensor]:
    """Return each tensor of the networks that are not frozen once, in one order for all copies of a cohort."""
    tensors: dict[int, Tensor] = {}
    for network in cohort:
        if not network.frozen:
            own = [*network.parameters(), *(network.buffers() if buffers else ())]
            tensors |= {id(tensor): tensor for tensor in own}
    return list(tensors.values())
