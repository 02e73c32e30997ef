"""Parameters and multiply-adds of a network."""

import copy
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

FORWARD_AND_BACKWARD = 3  # times a forward pass: a backward one costs two of them


def parameters(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, input_size: tuple[int, ...]) -> int:
    """Multiply-adds of convolutions and linear layers for one input; other operations are not counted.

    Nothing is computed, and the module is left as it is: shapes go through a copy on the meta device.

    Args:
        module: takes one tensor.
        input_size: shape of one input without the batch dimension, e.g. ``(3, 32, 32)``.
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output.numel() * prod(layer.weight.shape[1:])  # one weight row makes one output value

    shadow = copy.deepcopy(module).to("meta").eval()
    for layer in shadow.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.empty(1, *input_size, device="meta"))
    return total
