"""A stand-in for CUDA graphs on the CPU: it records the calls of a function, and replays them on the same memory.

Like a graph, a replay runs no Python of the function: it repeats every operator with the tensors, numbers and random
generators of the recording, and writes results to where they were. So a tensor that does not stay where it was, a
number that changes and a random draw on the host make a replay differ from a call.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mcl.training.random_state import host_state

T = TypeVar("T")

_WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::lift_fresh")


class RecordedCalls:
    """Records functions on the CPU (`mcl.training.recording.Recorder`).

    Args:
        generators: generators that functions draw from, apart from torch's global one, which is the device's here.
    """

    recovers = True

    def __init__(self, generators: Sequence[torch.Generator] = ()):
        self.generators = list(generators)
        self.recorded = self.replays = 0

    def side_stream(self) -> AbstractContextManager[None]:
        return nullcontext()

    def host_state(self) -> Hashable:
        return host_state(torch_too=False)

    def record(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        drawn = [torch.default_generator, *self.generators]
        states = [generator.get_state() for generator in drawn]
        calls = _Calls(drawn)
        try:
            with calls:
                result = function()
        finally:  # recording runs nothing
            calls.undo()
            for generator, state in zip(drawn, states, strict=True):
                generator.set_state(state)
        self.recorded += 1

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                calls.replay()

        return replay, result


class _Calls(TorchDispatchMode):
    def __init__(self, generators: Sequence[torch.Generator]):
        super().__init__()
        self.generators = generators
        self.calls: list[tuple[Any, Any, Any, list[tuple[int, Tensor]]]] = []
        self.before: dict[int, tuple[Tensor, Tensor | None]] = {}  # storage -> a tensor on it, and its first content

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = operator._schema.name
        if name.startswith("profiler::"):
            return operator(*args, **kwargs)
        if name in _WAITS:
            raise RuntimeError(f"operation not permitted while recording: {name}")
        generator = kwargs.get("generator")
        if generator is not None and all(generator._cdata != each._cdata for each in self.generators):
            raise RuntimeError("a generator that is not registered was drawn from while recording")
        for tensor in _tensors((args, kwargs)):
            self.before.setdefault(_memory(tensor), (tensor, _bytes(tensor).clone()))
        outputs = operator(*args, **kwargs)
        fresh = [(i, each) for i, each in enumerate(_tensors(outputs)) if _memory(each) not in self.before]
        for _, tensor in fresh:
            self.before.setdefault(_memory(tensor), (tensor, None))
        self.calls.append((operator, args, kwargs, [(i, each.detach()) for i, each in fresh]))
        return outputs

    def undo(self) -> None:
        """Give memory of before the recording its content back; fill all other memory with ones: NaN in floats."""
        for tensor, content in self.before.values():
            _bytes(tensor).fill_(255) if content is None else _bytes(tensor).copy_(content)

    def replay(self) -> None:
        for operator, args, kwargs, fresh in self.calls:
            outputs = list(_tensors(operator(*args, **kwargs)))
            for i, tensor in fresh:
                tensor.copy_(outputs[i])


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(tensor: Tensor) -> Tensor:
    """Return all memory that a tensor is a view of."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
