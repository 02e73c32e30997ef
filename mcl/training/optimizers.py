"""The parameters of an optimizer, and torch's fused optimizers, which update all of them with one kernel."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mcl.training.learner import Learner

_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def fused_option(optimizer: Callable[..., Any], options: Mapping[Any, Any], device: torch.device) -> dict[str, bool]:
    """Return ``{"fused": True}`` if torch has such a kernel and the options choose no other implementation.

    It differs in the last bit, as another device does, and so is not part of the run's identity.
    """
    chosen = {"fused", "foreach", "differentiable"} & options.keys()
    return {"fused": True} if optimizer in _FUSED and device.type in ("cpu", "cuda") and not chosen else {}


def parameter_groups(learner: Learner, *, decay_norm_and_bias: bool = True) -> list[Any]:
    """Return the trained parameters, apart from those for which the loss sets options of the optimizer.

    Args:
        learner: networks and loss.
        decay_norm_and_bias: otherwise, parameters of one dimension are apart, too, without weight decay: biases, and
            those of normalization layers.
    """
    own = learner.loss.parameter_groups()
    grouped = {id(parameter) for group in own for parameter in group["params"]}
    parameters = [parameter for parameter in learner.trained_parameters() if id(parameter) not in grouped]
    if not decay_norm_and_bias:
        own = [{"params": [each for each in parameters if each.dim() <= 1], "weight_decay": 0.0}, *own]
        parameters = [each for each in parameters if each.dim() > 1]
    return [{"params": parameters}, *own] if own else parameters


def match_state_strides(optimizer: Optimizer) -> None:
    """Give loaded momentum buffers the strides of their parameters: fused CPU kernels ignore strides."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter).copy_(value)
