"""Arithmetic all losses share: never below float32, safe where a vector is zero."""

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def unit(vectors: Tensor, eps: float = 1e-8) -> Tensor:
    """Vectors of the last dimension divided by their length, in float32 at least.

    A vector shorter than ``eps`` is divided by ``eps``: unlike a plain norm, this has finite first and second
    derivatives at zero.
    """
    vectors = full_precision(vectors)
    return vectors * vectors.square().sum(-1, keepdim=True).clamp_min(eps**2).rsqrt()
