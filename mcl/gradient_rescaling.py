"""An identity that divides the gradient, for modules with several children (CL-ILR, NeurIPS 2018)."""

from typing import Any

import torch
from torch import Tensor


class _Rescale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, children: int) -> Tensor:
        ctx.children = children
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient / ctx.children, None


def rescale_gradient(x: Tensor, children: int) -> Tensor:
    """Return x; its gradient is divided by the number of children that read it."""
    if children == 1:
        return x
    result: Tensor = _Rescale.apply(x, children)
    return result
