"""The rule that filled every tensor behind the golden arrays of networks and trajectories."""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def filled(salt: str, key: str, shape: Sequence[int]) -> Tensor:
    """Return a float64 tensor that depends only on the salt, its key and its shape; 0 for ``num_batches_tracked``."""
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    a = np.random.default_rng(zlib.crc32(f"{salt}{key}".encode())).standard_normal(tuple(shape))
    if key.endswith("running_var"):
        a = 0.5 + abs(a)
    elif key.endswith("running_mean"):
        a = 0.1 * a
    elif len(shape) == 1:
        a = 0.1 * a + key.endswith("weight")
    else:
        a = a * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(a)


def images(seed_text: str, shape: Sequence[int]) -> Tensor:
    """Return normal noise, the input of the golden arrays."""
    return torch.from_numpy(np.random.default_rng(zlib.crc32(seed_text.encode())).standard_normal(tuple(shape)))
