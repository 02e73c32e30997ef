"""Batches move to the device ahead of the step, in order, on a stream beside it."""

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from mcl.data.prefetch import CudaSideStream, prefetch


def numbered(count: int, events: list[str]) -> Iterator[int]:
    for number in range(count):
        events.append(f"read {number}")
        yield number


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_batches_arrive_in_order_and_two_are_ahead(count: int) -> None:
    events: list[str] = []

    def side_stream(work: Callable[[], Sequence[Tensor]]) -> Callable[[], Sequence[Tensor]]:
        tensors = work()
        events.append(f"begin {int(tensors[0])}")

        def hand_over() -> Sequence[Tensor]:
            events.append(f"use {int(tensors[0])}")
            return tensors

        return hand_over

    batches = prefetch(numbered(count, events), lambda number: [torch.tensor(number)], side_stream)
    assert [int(tensor) for (tensor,) in batches] == list(range(count))
    for number in range(count):
        last_before = events[: events.index(f"use {number}")]
        assert sum(event.startswith("begin") for event in last_before) == min(count, number + 3)


def test_stop_in_the_middle_frees_the_batches_ahead_and_ends_the_reading() -> None:
    alive: list[weakref.ref[Tensor]] = []
    ended: list[bool] = []

    def reading() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            ended.append(True)

    def move(number: int) -> list[Tensor]:
        tensor = torch.full((4,), number)
        alive.append(weakref.ref(tensor))
        return [tensor]

    batches = prefetch(reading(), move, lambda work: partial_of(work()))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    del batches
    gc.collect()
    assert len(alive) == 3
    assert not any(reference() is not None for reference in alive)
    assert ended == [True]


def partial_of(tensors: Sequence[Tensor]) -> Callable[[], Sequence[Tensor]]:
    return lambda: tensors


class FakeStream:
    """A stream that records what is asked of it."""

    def __init__(self, name: str, events: list[Any]):
        self.name, self.events = name, events

    def record_event(self) -> str:
        self.events.append(("record", self.name))
        return "done"

    def wait_event(self, event: str) -> None:
        self.events.append(("wait", self.name, event))


def test_the_training_stream_waits_for_the_copy_and_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    side, training = FakeStream("side", events), FakeStream("training", events)

    @contextmanager
    def stream(chosen: FakeStream) -> Iterator[None]:
        events.append(("enter", chosen.name))
        yield
        events.append(("leave", chosen.name))

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: side)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: training)
    monkeypatch.setattr(Tensor, "record_stream", lambda self, chosen: events.append(("keep", chosen.name)))

    def work() -> list[Tensor]:
        events.append("copy")
        return [torch.zeros(1), torch.ones(1)]

    hand_over = CudaSideStream(torch.device("cuda:0"))(work)
    assert events == [("enter", "side"), "copy", ("record", "side"), ("leave", "side")]
    assert len(hand_over()) == 2
    assert events[4:] == [("wait", "training", "done"), ("keep", "training"), ("keep", "training")]
