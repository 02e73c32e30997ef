"""Parameters and multiply-adds of a network."""

import copy
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

FORWARD_AND_BACKWARD = 3  # cost in forward passes; a backward pass costs two


def outline(module: M) -> M:
    """Return a copy of a module in evaluation mode that computes shapes alone, on the meta device."""
    parameters = {id(each): nn.Parameter(each.detach().to("meta"), each.requires_grad) for each in module.parameters()}
    buffers = {id(each): each.to("meta") for each in module.buffers()}
    return copy.deepcopy(module, {**parameters, **buffers}).to("meta").eval()


def parameters(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, input_size: tuple[int, ...], views: int = 1) -> int:
    """Return the multiply-adds of convolutions and linear layers for one input; other operations are not counted.

    Only shapes are computed, by a copy of the module on the meta device.

    Args:
        module: takes one tensor.
        input_size: shape of one input without the batch dimension, e.g. ``(3, 32, 32)``.
        views: views of the input that a cohort takes at once, one for each network.
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output.numel() * prod(layer.weight.shape[1:])  # one weight row makes one output value

    shadow = outline(module)
    for layer in shadow.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.empty(*([views] if views > 1 else []), 1, *input_size, device="meta"))
    return total
