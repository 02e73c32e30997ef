"""What becomes of memory that tensors give back."""

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


def without_settings() -> dict[str, str]:
    """The environment but for what has a say in how memory is allocated."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_"))}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a matter of glibc")
def test_memory_of_freed_tensors_is_used_again() -> None:
    faults = {}
    for keep in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS.format(keep=keep)],
            env=without_settings(),
            capture_output=True,
            text=True,
            check=True,
        )
        faults[keep] = int(done.stdout)
    assert faults[True] < 100 < 1000 < faults[False]  # of some 70,000 pages


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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a matter of glibc")
def test_holes_between_tensors_go_back_to_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT], env=without_settings(), capture_output=True, text=True, check=True
    )
    full, freed, returned = map(int, done.stdout.split())  # MB
    assert full > 240
    assert freed > 240
    assert returned < 40
