"""CL-ILR: collaborative learning with intermediate-level representation sharing (NeurIPS 2018, arXiv 1805.11761)."""

from typing import Any

import torch
from torch import Tensor

from mcl.losses.distillation import kl_divergence


def mean_of_others(logits: Tensor) -> Tensor:
    """Return, for each of N networks, the mean of the other networks' logits: (N, B, C) to (N, B, C)."""
    return (logits.sum(0) - logits) / max(len(logits) - 1, 1)


def divergence(logits: Tensor, *, temperature: float) -> Tensor:
    """Return 0.5 times the divergence of each network from the mean logits of the others, summed over networks.

    Args:
        logits: (N, B, C); detached as teachers.
        temperature: T; the factor T² is included.
    """
    return 0.5 * kl_divergence(mean_of_others(logits.detach()), logits, temperature=temperature)


def rescale_gradient(x: Tensor, children: int) -> Tensor:
    """Return ``x``, and divide the gradient that comes back by the number of children of a fork."""
    return _RescaleGradient.apply(x, children)


class _RescaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, children: int) -> Tensor:
        ctx.children = children
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient / ctx.children, None
