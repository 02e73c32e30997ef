"""Blocks of calls timed in turns: clocks are read around a block, once the device is done, never around one step."""

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
        setup: blocks of one call, two of them, in a rehearsal.
        calls: what to time, by name.
        synchronize: waits for the device.
        budget: seconds for all of them together; the fewest turns may take longer.

    Returns:
        ``{"calls": {name: calls of a block}, "seconds": {name: seconds of a call, block by block}}``.
    """
    if setup.tiny:
        return {"calls": dict.fromkeys(calls, 1), "seconds": time_in_turns(calls, 2, warm_up=0)}
    counts, pilots = {}, {}
    for name, call in calls.items():
        pilots[name] = time_in_turns({name: call}, PILOT, warm_up=0, synchronize=synchronize)[name]
        counts[name] = min(LONGEST, max(1, round(BLOCK / min(pilots[name]))))
    turn = sum(counts[name] * min(pilots[name]) for name in calls)
    rounds = int(min(ROUNDS[1], max(ROUNDS[0], budget / turn - 1)))
    blocks = {name: _block(call, counts[name]) for name, call in calls.items()}
    seconds = time_in_turns(blocks, rounds, synchronize=synchronize)
    return {
        "calls": counts,
        "seconds": {name: [value / counts[name] for value in values] for name, values in seconds.items()},
    }


def _block(call: Callable[[], Any], count: int) -> Callable[[], None]:
    def block() -> None:
        for _ in range(count):
            call()

    return block
