"""Time of a training step by phase, measured in the training steps themselves."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mcl.benchmarking.steps import replaced
from mcl.benchmarking.stopwatch import Stopwatch
from mcl.training.meta_round import MetaRound
from mcl.training.trainer import Trainer

PHASES = ("data", "forward", "loss", "contrast", "backward", "optimizer", "other")
META_ROUND = "meta_round"


@contextmanager
def phases_of(trainer: Trainer, watch: Stopwatch) -> Iterator[None]:
    """Within the block, whatever ``trainer`` does is timed by phase.

    The parts of a step are wrapped where they are, not repeated. Contrast, where the loss has a module of that name,
    counts its backward pass, too: from the first gradient that reaches its terms to the last one that leaves it for
    the embeddings. What lies between the parts is ``other``.

    Args:
        trainer: whose steps are timed.
        watch: where the seconds go; its device is waited for at the borders of phases, which on a GPU takes away what
            phases overlap.
    """
    loss, optimizer = trainer.learner.loss, trainer.optimizers[0]
    step = trainer.train_step
    contrast = getattr(loss, "contrast", None)
    with ExitStack() as stack:
        put = stack.enter_context
        put(replaced(trainer.loader, "epoch", _fetching(trainer.loader.epoch, watch)))
        put(replaced(step, "model", _timed(step.model, "forward", watch)))
        put(replaced(loss, "forward", _timed(loss.forward, "loss", watch)))
        if isinstance(contrast, nn.Module):
            put(replaced(contrast, "forward", _contrasting(contrast.forward, watch)))
        put(replaced(torch.Tensor, "backward", _timed(torch.Tensor.backward, "backward", watch)))
        put(replaced(optimizer, "step", _timed(optimizer.step, "optimizer", watch)))
        put(replaced(MetaRound, "__call__", _timed(MetaRound.__call__, META_ROUND, watch)))
        put(watch.phase("other"))
        yield


def _timed(call: Callable[..., Any], name: str, watch: Stopwatch) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        if watch.inside(META_ROUND):  # which calls the same parts, and is a phase of its own
            return call(*arguments, **options)
        with watch.phase(name):
            return call(*arguments, **options)

    return timed


def _fetching(epoch: Callable[..., Iterator[Any]], watch: Stopwatch) -> Callable[..., Iterator[Any]]:
    def fetching(*arguments: Any, **options: Any) -> Iterator[Any]:
        batches, end = epoch(*arguments, **options), object()
        while True:
            with watch.phase("data"):
                batch = next(batches, end)
            if batch is end:
                return
            yield batch

    return fetching


def _contrasting(forward: Callable[..., Sequence[Tensor]], watch: Stopwatch) -> Callable[..., Sequence[Tensor]]:
    def contrasting(projections: Sequence[Tensor], *arguments: Any, **options: Any) -> Sequence[Tensor]:
        if watch.inside(META_ROUND):
            return forward(projections, *arguments, **options)
        with watch.phase("contrast"):
            terms = forward(projections, *arguments, **options)
        waiting = sum(projection.requires_grad for projection in projections)

        def arrives(_: Tensor) -> None:
            if not watch.inside("contrast"):
                watch.enter("contrast")

        def leaves(_: Tensor) -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting and watch.inside("contrast"):
                watch.leave()

        for hook, tensors in ((arrives, terms), (leaves, projections)):
            for tensor in tensors:
                if tensor.requires_grad:
                    tensor.register_hook(hook)
        return terms

    return contrasting
