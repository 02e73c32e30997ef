"""Peak memory: of tensors on a GPU, else of this process."""

import sys
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"  # man 5 proc


def peak_memory(device: torch.device | str) -> int | None:
    """Return the peak memory so far in bytes: of tensors on a GPU, else of this process; None if unknown."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _peak_resident_memory()


def reset_peak_memory(device: torch.device | str) -> bool:
    """Let `peak_memory` start again at what is used now. Return whether that was possible."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        _CLEAR.write_text(_CLEAR_PEAK)
    except OSError:  # not Linux
        return False
    return True


def kind_of_memory(device: torch.device | str) -> str:
    """Describe what `peak_memory` counts."""
    return "peak of tensors on the GPU" if torch.device(device).type == "cuda" else "peak of the process"


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
