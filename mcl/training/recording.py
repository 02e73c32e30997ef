"""Record what a function launches on the device once, and replay it without Python: CUDA graphs."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, Protocol, TypeVar

import torch
from torch.torch_version import TorchVersion

from mcl.training.random_state import host_state

T = TypeVar("T")


class Recorder(Protocol):
    """Records functions for one device."""

    @property
    def recovers(self) -> bool:
        """Whether the device can compute on after a recording has failed."""
        ...

    def side_stream(self) -> AbstractContextManager[None]:
        """Return a context that runs on the stream of the recordings, after all work so far and before all later."""
        ...

    def record(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Record a call, without running anything on the device.

        Returns:
            A function that replays the call, and the result, whose tensors every replay writes anew.
        """
        ...

    def host_state(self) -> Hashable:
        """Return the state of the random generators whose numbers a recording would repeat."""
        ...


class CudaGraphs:
    """Records CUDA graphs, which share one pool of memory.

    Before PyTorch 2.13, a recording that fails leaves the random generator and the pool of memory as if it went on
    (pytorch/pytorch pull requests 176752 and 180395).

    Args:
        device: a CUDA device.
        generators: generators on the device that the functions draw from, apart from the global one.
    """

    recovers = TorchVersion(torch.__version__) >= "2.13"

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator] = ()):
        self.device = device
        self.generators = list(generators)
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def side_stream(self) -> Iterator[None]:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def record(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        state = torch.cuda.get_rng_state(self.device)
        # Other threads, such as those that pin memory for the loader, may call CUDA meanwhile.
        recording = torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local")
        current = torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.stream(current), recording:  # a failed recording leaves its own stream behind
                result = function()
        except BaseException:
            torch.cuda.set_rng_state(state, self.device)
            raise
        return graph.replay, result

    def host_state(self) -> Hashable:
        return host_state()


class Recorded(Generic[T]):
    """A function that is recorded once the numbers it reads have settled, and replayed while they stay the same.

    The first call with other numbers runs the function as it is; the second one records it.

    Args:
        recorder: records the function.
        function: called without arguments. It reads tensors that stay where they are.
        numbers: returns the Python numbers that the function reads.
        on_failure: called with the error if the function cannot be recorded; from then on it runs as it is.
    """

    def __init__(
        self,
        recorder: Recorder,
        function: Callable[[], T],
        numbers: Callable[[], Hashable],
        on_failure: Callable[[Exception], None],
    ):
        self.recorder = recorder
        self.function = function
        self.numbers = numbers
        self.on_failure = on_failure
        self.recordings = 0
        self.replayed = False  # whether the last call was a replay
        self._failed = False
        self._last: Hashable = None  # numbers of the last call
        self._recorded: Hashable = None  # numbers of the recording
        self._recording: tuple[Callable[[], None], T] | None = None

    def __call__(self) -> T:
        """Return the result, whose tensors the next replay writes anew."""
        numbers = self.numbers()
        settled, self._last = numbers == self._last, numbers
        if self._failed or not (settled or self._is_valid(numbers)):
            return self.run()
        if not self._is_valid(numbers):
            try:
                # The last recording lives until the new one exists: it keeps their pool of memory.
                self._recording = self.recorder.record(self.function)
            except RuntimeError as error:
                self._failed = True
                self.on_failure(error)
                return self.run()
            self._recorded = numbers
            self.recordings += 1
        assert self._recording is not None
        replay, result = self._recording
        replay()
        self.replayed = True
        return result

    def run(self) -> T:
        """Run the function as it is."""
        self.replayed = False
        with self.recorder.side_stream():
            return self.function()

    def _is_valid(self, numbers: Hashable) -> bool:
        return self._recording is not None and numbers == self._recorded
