"""Move batches to a GPU ahead of the training step, on a stream of their own."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Tensors = TypeVar("Tensors", bound=Sequence[Tensor])
DEPTH = 2  # batches on the device ahead of the one that trains


class SideStream(Protocol):
    """Runs work beside the training step."""

    def __call__(self, work: Callable[[], Tensors]) -> Callable[[], Tensors]:
        """Begin work. Return a function that returns its tensors once the training step may use them."""


class CudaSideStream:
    """A CUDA stream beside the current one, which neither waits for the other's kernels nor delays them."""

    def __init__(self, device: torch.device):
        self.device = device
        self._stream = torch.cuda.Stream(device)

    def __call__(self, work: Callable[[], Tensors]) -> Callable[[], Tensors]:
        with torch.cuda.stream(self._stream):
            tensors = work()
            done = self._stream.record_event()

        def hand_over() -> Tensors:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(done)  # the device waits, not this process
            for tensor in tensors:
                tensor.record_stream(current)  # its memory is not reused before the step has read it
            return tensors

        return hand_over


def prefetch(batches: Iterator[T], move: Callable[[T], Tensors], side_stream: SideStream) -> Iterator[Tensors]:
    """Yield the tensors of each batch in order, while those of the next `DEPTH` batches are on their way.

    Args:
        batches: batches in main memory, pinned.
        move: begins to copy a batch to the device, without waiting.
        side_stream: where ``move`` runs.
    """
    ahead: deque[Callable[[], Tensors]] = deque()
    try:
        for batch in batches:
            ahead.append(side_stream(partial(move, batch)))
            if len(ahead) > DEPTH:
                yield ahead.popleft()()
        while ahead:
            yield ahead.popleft()()
    finally:
        ahead.clear()
