"""Time training steps one by one, in the real training loop."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from torch import Tensor

from mcl.benchmarking.stopwatch import synchronizer
from mcl.signals import Stopped, StopSignals
from mcl.tracking.tracker import Trackers
from mcl.training.meta_round import MetaRound
from mcl.training.trainer import Trainer
from mcl.types import Batch

NEVER = 10**9


@dataclass
class Steps:
    """Measurements of some training steps.

    Args:
        seconds: seconds of each step after the warm-up, without its meta round.
        meta_rounds: seconds of each meta round after the first.
        losses: weighted total of every step, warm-up included.
        first: seconds of the first step, its meta round included.
    """

    seconds: list[float] = field(default_factory=list)
    meta_rounds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    first: float = 0.0


def run_steps(
    trainer: Trainer,
    count: int,
    *,
    warm_up: int,
    least: int,
    budget: float,
    meta_rounds: int = 1,
    after_step: Callable[[], object] = lambda: None,
) -> Steps:
    """Train from the first step in the usual loop, without evaluations, checkpoints and trackers.

    Args:
        trainer: trained in place.
        count: steps to time.
        warm_up: steps before them, at least 1.
        least: steps to time even if they exceed the budget.
        budget: seconds after which no further step or meta round starts.
        meta_rounds: meta rounds to time, if the loss has them; the first step, which has one, is repeated for that.
        after_step: called at the end of each step, once the device is done.
    """
    assert warm_up >= 1, "the first steps allocate memory and choose algorithms"
    trainer.options.evaluate_every = NEVER
    trainer.progress.step = 0  # it may have been trained before
    trainer.progress.total_steps = max(trainer.progress.total_steps, warm_up + count + 1)
    steps, totals = Steps(), list[Tensor]()
    timer = _StepTimer(trainer, steps, count, warm_up, least, budget, after_step)
    train_on_batch = trainer.train_on_batch

    def recorded_step(batch: Batch, next_batch: Batch | None = None) -> dict[str, Tensor]:
        values = train_on_batch(batch, next_batch)
        totals.append(values["train/total"].detach())  # on the device: reading it would wait
        return values

    with ExitStack() as stack:
        stack.enter_context(patch.object(trainer, "train_on_batch", recorded_step))
        if trainer.meta_round is not None:
            stack.enter_context(patch.object(MetaRound, "__call__", timer.timed_meta_round(MetaRound.__call__)))
        _train(trainer, timer)
        steps.losses = [float(total) for total in totals]
        start = time.perf_counter()
        while trainer.meta_round is not None and len(steps.meta_rounds) < meta_rounds:
            trainer.progress.step = 0
            _train(trainer, _StepTimer(trainer, Steps(), 0, 1, 0, 0.0, after_step))
            if time.perf_counter() - start > budget:
                break
    return steps


def _train(trainer: Trainer, timer: "_StepTimer") -> None:
    try:
        trainer.fit(None, Trackers(), timer)
    except _Enough:
        return
    raise AssertionError("training ended before it was stopped")


class _Enough(Stopped):
    """Enough steps were timed: the loop ends where it would after a signal."""


class _StepTimer(StopSignals):
    """Reads the clock where the loop checks for stop signals, once a step; stops the loop after enough steps."""

    def __init__(
        self,
        trainer: Trainer,
        steps: Steps,
        count: int,
        warm_up: int,
        least: int,
        budget: float,
        after_step: Callable[[], object],
    ):
        super().__init__()
        self.trainer, self.steps = trainer, steps
        self.count, self.warm_up, self.least, self.budget = count, warm_up, least, budget
        self.after_step = after_step
        self.synchronize = synchronizer(trainer.options.device)
        self.done, self.in_meta_round, self.warm_meta_round = 0, 0.0, False
        self.start = self.last_read = time.perf_counter()

    def check(self, number: int | None = None) -> None:
        if self.trainer.progress.step == self.done:  # the loop checks again between two epochs
            return
        self.synchronize()
        now = time.perf_counter()
        self.done += 1
        if self.done == 1:
            self.steps.first = now - self.last_read
        if self.done == self.warm_up:
            self.start = now
        elif self.done > self.warm_up:
            self.steps.seconds.append(now - self.last_read - self.in_meta_round)
        self.last_read, self.in_meta_round = now, 0.0
        self.after_step()
        timed = self.done - self.warm_up
        if timed >= self.count or (timed >= self.least and now - self.start > self.budget):
            raise _Enough("SIGTERM")

    def timed_meta_round(self, meta_round: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return the same call, timed; the first one warms up and is not recorded."""

        def timed(*arguments: Any) -> Tensor:
            self.synchronize()
            start = time.perf_counter()
            outer_loss = meta_round(*arguments)
            self.synchronize()
            self.in_meta_round = time.perf_counter() - start
            if self.warm_meta_round:
                self.steps.meta_rounds.append(self.in_meta_round)
            self.warm_meta_round = True
            return outer_loss

        return timed
