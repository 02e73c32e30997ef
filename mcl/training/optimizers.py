"""torch's fused optimizers, one kernel for all parameters: where they apply, and the layout of their state."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def fused(optimizer: Callable[..., Any], options: Mapping[Any, Any], device: torch.device) -> dict[str, bool]:
    """``{"fused": True}`` where torch has such a kernel and the options name no other way.

    It rounds otherwise in the last bit, as another device does, and so is no part of who a run is.
    """
    chosen = {"fused", "foreach", "differentiable"} & options.keys()
    return {"fused": True} if optimizer in _FUSED and device.type in ("cpu", "cuda") and not chosen else {}


def lay_out_state(optimizer: Optimizer) -> None:
    """Give what has built up the strides of its parameters: fused kernels on a CPU do not look at strides."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter).copy_(value)
