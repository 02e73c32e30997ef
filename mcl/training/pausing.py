"""Keep paused networks where they are during an optimization step (`mcl.losses.base.Loss.paused`)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mcl.errors import UserError
from mcl.networks.cohort import Cohort


@contextmanager
def keep_paused(cohort: Cohort, optimizer: Optimizer, paused: Tensor | None) -> Iterator[None]:
    """Restore the parameters of paused networks and the optimizer's state for them after a step.

    It is as if their optimizer took no step: neither momentum nor weight decay moves them. What several networks share
    is paused if all of them are. Does not synchronize with the device.

    Args:
        cohort: the networks.
        optimizer: the optimizer that takes a step in this context.
        paused: (N,) bool, on the device; None if no network ever is.

    Raises:
        UserError: `paused` has another shape or type.
    """
    if paused is None:
        yield
        return
    if paused.shape != (len(cohort.keys),) or paused.dtype != torch.bool:
        given = f"{str(paused.dtype).removeprefix('torch.')} of shape {tuple(paused.shape)}"
        raise UserError(f"loss: paused() returns {given}. Return one bool for each of the {len(cohort.keys)} networks.")
    parameters = _with_networks(cohort)
    before = [(parameter, parameter.detach().clone(), _copy_state(optimizer, parameter)) for parameter, _ in parameters]
    yield
    masks = {users: torch.stack([paused[i] for i in users]).all() for users in {users for _, users in parameters}}
    with torch.no_grad():
        for (parameter, old, state), (_, users) in zip(before, parameters, strict=True):
            mask = masks[users]
            parameter.copy_(torch.where(mask, old, parameter))
            for name, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    earlier = state.get(name, torch.zeros_like(value))  # a state that does not exist yet starts at zero
                    value.copy_(torch.where(mask.to(value.device), earlier, value))


def _with_networks(cohort: Cohort) -> list[tuple[nn.Parameter, tuple[int, ...]]]:
    """Return each trained parameter once, with the positions of the networks that use it."""
    users: dict[nn.Parameter, list[int]] = {}
    for i, network in enumerate(cohort):
        for parameter in network.parameters():
            if parameter.requires_grad:
                users.setdefault(parameter, []).append(i)
    return [(parameter, tuple(networks)) for parameter, networks in users.items()]


def _copy_state(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    state = optimizer.state.get(parameter, {})
    return {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}
