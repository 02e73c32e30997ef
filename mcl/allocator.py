"""Let glibc reuse the main memory that tensors free. Nothing happens on other systems."""

import ctypes
import os
import sys
from typing import Any

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # constants of malloc.h
_USER_CHOICES = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD"}


def keep_freed_memory(device: torch.device) -> None:
    """Keep freed memory for the tensors of the next step; the process then holds its peak until it ends.

    By default glibc returns large blocks to the system, and each page of the next one must be cleared and mapped again:
    a fifth of the time of a meta round. An environment variable that configures the allocator takes precedence:
    ``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_MMAP_MAX_``, ``GLIBC_TUNABLES`` or ``LD_PRELOAD``.

    Args:
        device: device of the tensors; only the CPU needs this.
    """
    if device.type == "cpu" and not _USER_CHOICES & os.environ.keys() and (mallopt := _glibc_function("mallopt")):
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_MMAP_MAX, 0)  # separately mapped blocks are returned when freed, whatever the threshold


def return_freed_memory(device: torch.device) -> None:
    """Return all free memory to the system.

    Because tensors are aligned, few holes between them fit another tensor of the same size, and glibc takes new memory
    instead. Returning the holes between two large computations lowers the peak, at the cost of mapping them again.

    Args:
        device: device of the tensors; only the CPU needs this.
    """
    if device.type == "cpu" and (malloc_trim := _glibc_function("malloc_trim")):
        malloc_trim(0)


def _glibc_function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
