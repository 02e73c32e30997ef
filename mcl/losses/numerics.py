"""Arithmetic shared by the losses: float32 at least, and finite derivatives at zero vectors."""

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor

_NEARLY_UNIFORM = 1  # tau * temperature from which softened distributions are nearly uniform


def full_precision(tensor: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; leave float32 and float64 alone."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def common_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """Return the widest dtype among the tensors, float32 at least."""
    return reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)


def divergence_dtype(tensors: Iterable[Tensor], tau: float, temperature: float) -> torch.dtype:
    """Return the dtype for divergences between softmaxes of similarities / (tau * temperature).

    A divergence is a difference of entropies. It shrinks with the square of ``tau * temperature``; the entropies do
    not. At 1 or more float32 keeps too few digits, so float64 is used if the device supports it.
    """
    tensors = list(tensors)
    float32_suffices = tau * temperature < _NEARLY_UNIFORM or tensors[0].device.type == "mps"
    return common_dtype(tensors) if float32_suffices else torch.float64


def l2_normalize(vectors: Tensor, eps: float = 1e-8) -> Tensor:
    """Divide the vectors of the last dimension by their length, in float32 at least.

    A vector shorter than ``eps`` is divided by ``eps``. Unlike a plain norm, this has finite first and second
    derivatives at zero.
    """
    vectors = full_precision(vectors)
    return vectors * vectors.square().sum(-1, keepdim=True).clamp_min(eps**2).rsqrt()
