"""The memory there is."""

import torch

from mcl.data.available_memory import available_memory


def usable_memory(device: torch.device | str) -> int | None:
    """Return the bytes that can be used: all of the GPU's, or main memory that is free now; None if unknown."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return available_memory()
