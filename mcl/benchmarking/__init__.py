"""Measure how fast a configuration trains on this machine, where the time goes, and which settings are faster.

`run_benchmark` is ``python -m mcl benchmark``. The others are for programs that time a part of training themselves.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.benchmarking.benchmark import run_benchmark
    from mcl.benchmarking.memory import peak_memory, usable_memory
    from mcl.benchmarking.peak_rate import convolution_peak
    from mcl.benchmarking.stepwise import StepwiseTraining
    from mcl.benchmarking.stopwatch import time_in_turns

__all__ = ["StepwiseTraining", "convolution_peak", "peak_memory", "run_benchmark", "time_in_turns", "usable_memory"]
_FILES = {
    "StepwiseTraining": "stepwise",
    "convolution_peak": "peak_rate",
    "peak_memory": "memory",
    "run_benchmark": "benchmark",
    "time_in_turns": "stopwatch",
    "usable_memory": "memory",
}


def __getattr__(name: str) -> Any:  # on first use: they import torch
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
