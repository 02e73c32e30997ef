"""Peak memory use."""

import sys
from pathlib import Path

import torch

from mcl.data.available_memory import available_memory


def peak_memory(device: torch.device) -> int | None:
    """Bytes at the worst moment so far: on a GPU what tensors took, else what this process held; None where unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _resident()


def kind_of_memory(device: torch.device) -> str:
    """What `peak_memory` counts, in words."""
    return "most that tensors took on the GPU" if device.type == "cuda" else "most that the process held"


def usable_memory(device: torch.device) -> int | None:
    """Bytes there are to use: of the GPU, or of main memory at this moment; None where unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return available_memory()


def _resident() -> int | None:
    try:  # ru_maxrss starts at what the parent process held, which this does not
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024
