"""A stand-in for pynvml: GPUs whose jobs write the bytes they use into files."""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

GIB = 2**30


class NVMLError(Exception):
    """An error of NVML."""


@dataclass
class FakeGpu:
    """A GPU, or a part of one.

    Args:
        folder: a file for each job there, with the GiB that it uses.
        total: GiB.
        others: GiB that other programs use.
        utilization: percent; None as for a part of a GPU.
        lost: whether reading it fails.
        on_reading: called with the GPU at each reading.
    """

    folder: Path
    total: float = 16.0
    others: float = 0.0
    utilization: int | None = 0
    lost: bool = False
    on_reading: Callable[["FakeGpu"], None] | None = None
    readings: int = 0

    @property
    def used(self) -> int:
        return round((self.others + memory_of_jobs(self.folder)) * GIB)


def memory_of_jobs(folder: Path) -> float:
    """Return the GiB that jobs use: the sum of the numbers in the files of a folder."""
    used = 0.0
    for file in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError, ValueError):  # its job has ended, or is writing it
            used += float(file.read_text())
    return used


def install(monkeypatch: pytest.MonkeyPatch, gpus: dict[str, FakeGpu], *, second_memory_version: bool = True) -> None:
    """Make ``import pynvml`` return a module with these GPUs, by UUID."""

    def checked(gpu: FakeGpu) -> FakeGpu:
        gpu.readings += 1
        if gpu.on_reading is not None:
            gpu.on_reading(gpu)
        if gpu.lost:
            raise NVMLError("GPU is lost")
        return gpu

    def handle(uuid: str) -> FakeGpu:
        if uuid not in gpus:
            raise NVMLError("Not Found")
        return gpus[uuid]

    def memory(gpu: FakeGpu, version: int | None = None) -> Any:
        reserved = 0 if version == 2 else GIB  # the first version counts what the driver reserves
        return SimpleNamespace(total=round(gpu.total * GIB), used=checked(gpu).used + reserved)

    def utilization(gpu: FakeGpu) -> Any:
        if gpu.utilization is None:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=gpu.utilization, memory=0)

    module: Any = ModuleType("pynvml")
    module.NVMLError = NVMLError
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetHandleByUUID = handle
    module.nvmlDeviceGetMemoryInfo = memory
    module.nvmlDeviceGetUtilizationRates = utilization
    if second_memory_version:
        module.nvmlMemory_v2 = 2
    monkeypatch.setitem(sys.modules, "pynvml", module)
