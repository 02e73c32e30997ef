"""The parameters of an optimizer, and torch's fused optimizers, which update all of them with one kernel."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mcl.training.learner import Learner
from mcl.training.lr_factors import EQUAL, LR_FACTOR, PART, LrFactors

_BASE_LR = "initial_lr"  # key in the groups of an optimizer, as torch's schedulers call it
_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def fused_option(optimizer: Callable[..., Any], options: Mapping[Any, Any], device: torch.device) -> dict[str, bool]:
    """Return ``{"fused": True}`` if torch has such a kernel and the options choose no other implementation.

    It differs in the last bit, as another device does, and so is not part of the run's identity.
    """
    chosen = {"fused", "foreach", "differentiable"} & options.keys()
    return {"fused": True} if optimizer in _FUSED and device.type in ("cpu", "cuda") and not chosen else {}


def parameter_groups(learner: Learner, lr_factors: LrFactors = EQUAL, *, decay_norm_and_bias: bool = True) -> list[Any]:
    """Return the trained parameters; those with options of their own are in groups.

    Options come from the loss, or are factors on the learning rate of parts of the networks (`LrFactors.groups`).

    Args:
        learner: networks and loss.
        lr_factors: factors on the learning rate.
        decay_norm_and_bias: otherwise, biases and the parameters of normalization layers are apart, too, without
            weight decay.
    """
    trained = learner.trained_parameters()
    parts = lr_factors.groups(learner.cohort, trained)
    own = [{**group, _BASE_LR: group["lr"]} if "lr" in group else group for group in learner.loss.parameter_groups()]
    grouped = {id(parameter) for group in (*parts, *own) for parameter in group["params"]}
    parameters = [parameter for parameter in trained if id(parameter) not in grouped]
    groups = [{"params": parameters}, *own, *parts]
    if not decay_norm_and_bias:
        groups = split_by_decay(groups)
    return groups if len(groups) > 1 else parameters


def split_by_decay(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Split groups of parameters into biases and those of normalization layers, without weight decay, and others."""
    split: list[dict[str, Any]] = []
    for group in groups:
        vectors = [each for each in group["params"] if is_norm_or_bias(each)]
        others = [each for each in group["params"] if not is_norm_or_bias(each)]
        split += [{**group, "params": others}] if others else []
        split += [{**group, "params": vectors, "weight_decay": 0.0}] if vectors else []
    return split


def weight_decays(learner: Learner, optimizer: Optimizer) -> dict[str, float]:
    """Return the weight decay of each parameter that the optimizer updates, by its name in the learner."""
    groups = optimizer.param_groups
    decays = {id(each): group.get("weight_decay", 0.0) for group in groups for each in group["params"]}
    return {name: decays[id(each)] for name, each in learner.named_parameters() if id(each) in decays}


def is_norm_or_bias(parameter: Tensor) -> bool:
    """Return whether a parameter is a bias or belongs to a normalization layer, which its one dimension tells."""
    return parameter.dim() <= 1


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Give each group its own learning rate or the optimizer's, times a factor and that of its part of the networks."""
    for group in optimizer.param_groups:
        group["lr"] = group.get(_BASE_LR, optimizer.defaults["lr"]) * factor * group.get(LR_FACTOR, 1.0)


def base_learning_rate(optimizer: Optimizer) -> float:
    """Return the learning rate of what has no factor, even if every part has one."""
    group = optimizer.param_groups[0]
    return float(group["lr"] / group.get(LR_FACTOR, 1.0))


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return the learning rates of the parts that have a factor: ``{"first/stem": 0.01, ...}``."""
    return {group[PART]: group["lr"] for group in optimizer.param_groups if PART in group}


def match_state_strides(optimizer: Optimizer) -> None:
    """Give loaded momentum buffers the strides of their parameters: fused CPU kernels ignore strides."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter).copy_(value)
