"""Time of a training step by phase, measured in the training steps themselves."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from mcl.benchmarking.stopwatch import Stopwatch
from mcl.training.capturing import CapturedStep
from mcl.training.meta_round import MetaRound
from mcl.training.trainer import Trainer

PHASES = ("data", "forward", "loss", "contrast", "backward", "optimizer", "other")
META_ROUND = "meta_round"


@contextmanager
def timed_phases(trainer: Trainer, watch: Stopwatch) -> Iterator[None]:
    """Time by phase whatever the trainer does inside the block.

    The parts of a step are wrapped in place, not repeated. The contrast, if the loss has a module of that name,
    includes its backward pass: from the first gradient that reaches its terms to the last one that leaves it for the
    embeddings. The time between the parts is ``other``.

    Args:
        trainer: whose steps are timed.
        watch: collects the seconds; it waits for the device at the border of each phase, so on a GPU phases that
            usually overlap no longer do.
    """
    loss = trainer.learner.loss
    contrast = getattr(loss, "contrast", None)
    calls: list[tuple[Any, str, str]] = [
        (trainer.train_step, "model", "forward"),
        (loss, "forward", "loss"),
        (torch.Tensor, "backward", "backward"),
        (trainer.optimizers[0], "step", "optimizer"),
        (MetaRound, "__call__", META_ROUND),
    ]
    with ExitStack() as stack:
        if isinstance(trainer.train_step, CapturedStep):  # a replay has no parts
            stack.enter_context(patch.object(trainer.train_step, "enabled", False))
        for owner, name, phase in calls:
            stack.enter_context(patch.object(owner, name, _timed(getattr(owner, name), phase, watch)))
        stack.enter_context(patch.object(trainer.loader, "epoch", _timed_batches(trainer.loader.epoch, watch)))
        if isinstance(contrast, nn.Module):
            stack.enter_context(patch.object(contrast, "forward", _timed_contrast(contrast.forward, watch)))
        stack.enter_context(watch.phase("other"))
        yield


def _timed(call: Callable[..., Any], phase: str, watch: Stopwatch) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        if watch.inside(META_ROUND):  # it calls the same parts, but is a phase of its own
            return call(*arguments, **options)
        with watch.phase(phase):
            return call(*arguments, **options)

    return timed


def _timed_batches(epoch: Callable[..., Iterator[Any]], watch: Stopwatch) -> Callable[..., Iterator[Any]]:
    def timed(*arguments: Any, **options: Any) -> Iterator[Any]:
        batches, end = epoch(*arguments, **options), object()
        while True:
            with watch.phase("data"):
                batch = next(batches, end)
            if batch is end:
                return
            yield batch

    return timed


def _timed_contrast(forward: Callable[..., Sequence[Tensor]], watch: Stopwatch) -> Callable[..., Sequence[Tensor]]:
    def timed(projections: Sequence[Tensor], *arguments: Any, **options: Any) -> Sequence[Tensor]:
        if watch.inside(META_ROUND):
            return forward(projections, *arguments, **options)
        with watch.phase("contrast"):
            terms = forward(projections, *arguments, **options)
        waiting = sum(projection.requires_grad for projection in projections)

        def backward_begins(_: Tensor) -> None:
            if not watch.inside("contrast"):
                watch.enter("contrast")

        def backward_ends(_: Tensor) -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting and watch.inside("contrast"):
                watch.leave()

        for hook, tensors in ((backward_begins, terms), (backward_ends, projections)):
            for tensor in tensors:
                if tensor.requires_grad:
                    tensor.register_hook(hook)
        return terms

    return timed
