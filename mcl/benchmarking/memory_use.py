"""Peak memory, and the memory there is."""

import sys
from pathlib import Path

import torch

from mcl.data.available_memory import available_memory


def peak_memory(device: torch.device | str) -> int | None:
    """Return the peak memory so far in bytes: of tensors on a GPU, else of this process; None if unknown."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _peak_resident_memory()


def kind_of_memory(device: torch.device | str) -> str:
    """Describe what `peak_memory` counts."""
    return "peak of tensors on the GPU" if torch.device(device).type == "cuda" else "peak of the process"


def usable_memory(device: torch.device | str) -> int | None:
    """Return the bytes that can be used: all of the GPU's, or main memory that is free now; None if unknown."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return available_memory()


def _peak_resident_memory() -> int | None:
    try:  # unlike VmHWM, ru_maxrss starts at the memory of the parent process
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
