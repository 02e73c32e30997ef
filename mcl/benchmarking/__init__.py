"""Measure how fast a configuration trains on this machine, where the time goes, and which settings are faster.

`run_benchmark` is ``python -m mcl benchmark``. The others are for programs that time a part of training themselves.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.benchmarking.benchmark import run_benchmark
    from mcl.benchmarking.machine_memory import usable_memory
    from mcl.benchmarking.peak_rate import convolution_peak
    from mcl.benchmarking.stepwise import StepwiseTraining
    from mcl.benchmarking.stopwatch import time_in_turns

__all__ = ["StepwiseTraining", "convolution_peak", "run_benchmark", "time_in_turns", "usable_memory"]
__getattr__ = lazy_exports(
    __name__,
    {
        "benchmark": ["run_benchmark"],
        "machine_memory": ["usable_memory"],
        "peak_rate": ["convolution_peak"],
        "stepwise": ["StepwiseTraining"],
        "stopwatch": ["time_in_turns"],
    },
)
