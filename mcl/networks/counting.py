"""Parameters and multiply-adds of a network."""

import copy
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

M = TypeVar("M", bound=nn.Module)

_aten = torch.ops.aten
_COUNTED = (_aten.convolution, _aten._convolution, _aten.mm, _aten.addmm)

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

    Of attention, the projections count, and not the products of queries, keys and values. Only shapes are computed, by
    a copy of the module on the meta device.

    Args:
        module: takes one tensor.
        input_size: shape of one input without the batch dimension, e.g. ``(3, 32, 32)``.
        views: views of the input that a cohort takes at once, one for each network.
    """
    shadow = outline(module)
    with torch.no_grad(), _Counter() as counter:
        shadow(torch.empty(*([views] if views > 1 else []), 1, *input_size, device="meta"))
    return counter.operations // 2  # a multiply-add is two


class _Counter(TorchDispatchMode):
    """Count operations as `torch.utils.flop_counter` does, without its account by module, which takes longer."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        output = function(*arguments, **(named or {}))
        if function.overloadpacket in _COUNTED:
            self.operations += flop_registry[function.overloadpacket](*arguments, **(named or {}), out_val=output)
        return output
