"""Arithmetic for all losses: at least float32, and safe for zero vectors."""

from collections.abc import Iterable

import torch
from torch import Tensor

_FLAT = 1  # tau * temperature from which softened distributions are nearly uniform


def full_precision(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def common_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """The widest dtype among them, float32 at least."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def divergence_dtype(tensors: Iterable[Tensor], tau: float, temperature: float) -> torch.dtype:
    """What divergences of softmaxes of similarities / (tau * temperature) are computed in.

    They are differences of entropies, and shrink with the square of ``tau * temperature``, which entropies do not: of
    1 or more this leaves float32 too few digits, and float64 is taken where the device has it.
    """
    tensors = list(tensors)
    enough = tau * temperature < _FLAT or tensors[0].device.type == "mps"
    return common_dtype(tensors) if enough else torch.float64


def l2_normalize(vectors: Tensor, eps: float = 1e-8) -> Tensor:
    """Vectors of the last dimension divided by their length, in float32 at least.

    A vector shorter than ``eps`` is divided by ``eps``: unlike a plain norm, this has finite first and second
    derivatives at zero.
    """
    vectors = full_precision(vectors)
    return vectors * vectors.square().sum(-1, keepdim=True).clamp_min(eps**2).rsqrt()
