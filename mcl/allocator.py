"""Tell glibc how to reuse main memory that tensors free. Other systems are left alone."""

import ctypes
import os
import sys
from typing import Any

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # in malloc.h
_CHOSEN = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD"}


def keep_freed_memory(device: torch.device) -> None:
    """Keep what is freed from now on for the tensors of the next step: this process then holds its peak until it ends.

    Left to itself, glibc returns large pieces to the system, and each page of the next one has to be cleared and mapped
    anew: a fifth of the time of a meta round. Nothing happens where an environment variable has a say in it:
    ``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_MMAP_MAX_``, ``GLIBC_TUNABLES``, or ``LD_PRELOAD``.

    Args:
        device: nothing happens unless it is the CPU.
    """
    if device.type == "cpu" and not _CHOSEN & os.environ.keys() and (mallopt := _of_glibc("mallopt")):
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_MMAP_MAX, 0)  # large pieces mapped one by one go back as they are freed, whatever their threshold


def return_freed_memory(device: torch.device) -> None:
    """Return to the system what is free at this moment.

    Aligned as tensors are, glibc finds few holes between them that fit another of the same size, and takes new memory
    instead. Between two large computations, returning the holes makes the peak smaller, and costs mapping them anew.

    Args:
        device: nothing happens unless it is the CPU.
    """
    if device.type == "cpu" and (malloc_trim := _of_glibc("malloc_trim")):
        malloc_trim(0)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
