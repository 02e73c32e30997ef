"""Freed memory of tensors: it is reused, or returned to the system."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from mcl.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(size) for size in (2**20, 2**24) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {keep}: keep_freed_memory(torch.device("cpu"))
print(min(faults() for _ in range(8)))
"""


def faults(keep: bool, **environment: str) -> int:
    """Return the page faults of the cheapest of several passes over the same tensors."""
    return int(printed(FAULTS.format(keep=keep), **environment))


def printed(code: str, **environment: str) -> str:
    """Return the output of a process in which only ``environment`` sets how memory is allocated."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    clean.pop("LD_PRELOAD", None)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_of_freed_tensors_is_reused() -> None:
    left_alone = faults(keep=False)
    assert faults(keep=True) * 10 < left_alone
    assert faults(keep=True, MALLOC_MMAP_MAX_="65536") > left_alone / 2  # the user has chosen: left alone


RESIDENT = """
import torch
from pathlib import Path
from mcl.allocator import keep_freed_memory, return_freed_memory

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:"))

cpu = torch.device("cpu")
keep_freed_memory(cpu)
before = resident()
tensors = [torch.ones(2**20) for _ in range(64)]
full = resident()
del tensors[:-1]  # the last one keeps the rest from the end of the heap
freed = resident()
return_freed_memory(cpu)
print(full - before, freed - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_holes_between_tensors_go_back_to_the_system() -> None:
    full, freed, returned = map(int, printed(RESIDENT).split())  # MB
    assert full > 240
    assert freed > 240
    assert returned < 40
