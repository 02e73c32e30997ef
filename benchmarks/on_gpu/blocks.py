"""Blocks of calls timed in turns: clocks are read around a block, once the device is done, never around one step."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from mcl.benchmarking import time_in_turns
from on_gpu.setup import Setup

LONGEST = 200  # calls of a block
BLOCK = 0.5  # seconds of a block
ROUNDS = (5, 15)  # the fewest and the most turns
PILOT = 2  # calls that tell how long a block must be


def time_blocks(
    setup: Setup, calls: Mapping[str, Callable[[], Any]], synchronize: Callable[[], None], *, budget: float
) -> dict[str, Any]:
    """Time calls that were warmed up, block by block in turns.

    Args:
        setup: one block of one call, twice, in a rehearsal.
        calls: what to time, by name.
        synchronize: waits for the device.
        budget: seconds for all of them together; the fewest turns may take longer.

    Returns:
        ``{"calls": {name: calls of a block}, "seconds": {name: seconds of a call, block by block}}``.
    """
    counts = {}
    for name, call in calls.items():
        synchronize()
        start = time.perf_counter()
        for _ in range(1 if setup.tiny else PILOT):
            call()
        synchronize()
        seconds = (time.perf_counter() - start) / (1 if setup.tiny else PILOT)
        counts[name] = (1, seconds) if setup.tiny else (min(LONGEST, max(1, round(BLOCK / seconds))), seconds)
    turn = sum(count * seconds for count, seconds in counts.values())
    rounds = 2 if setup.tiny else int(min(ROUNDS[1], max(ROUNDS[0], budget / turn - 1)))
    blocks = {name: _block(call, counts[name][0]) for name, call in calls.items()}
    seconds_of = time_in_turns(blocks, rounds, warm_up=0 if setup.tiny else 1, synchronize=synchronize)
    return {
        "calls": {name: count for name, (count, _) in counts.items()},
        "seconds": {name: [value / counts[name][0] for value in values] for name, values in seconds_of.items()},
    }


def _block(call: Callable[[], Any], count: int) -> Callable[[], None]:
    def block() -> None:
        for _ in range(count):
            call()

    return block
