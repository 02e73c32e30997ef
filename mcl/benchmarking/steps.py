"""Some steps of the real training loop, timed one by one."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mcl.benchmarking.stopwatch import synchronizer
from mcl.tracking.tracker import Trackers
from mcl.training.meta_round import MetaRound
from mcl.training.signals import Stopped, StopSignals
from mcl.training.trainer import Trainer

NEVER = 10**9


@dataclass
class Steps:
    """What was seen of some training steps.

    Args:
        seconds: of each step that counts, its meta round left out.
        meta_rounds: seconds of each meta round, the first one of all left out.
        losses: weighted total of every step from the first one on.
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
    after_step: Callable[[], None] = lambda: None,
) -> Steps:
    """Train from the first step on, by the loop that training runs, without evaluations, checkpoints and trackers.

    Args:
        trainer: trained in place.
        count: steps that count.
        warm_up: steps before them that do not, at least 1.
        least: steps that count, however long they take.
        budget: seconds after which no further step or meta round is begun.
        meta_rounds: how many to time, where the loss has them: the first step, which has one, is repeated.
        after_step: called at the end of each step, once the device is done.
    """
    assert warm_up >= 1, "the first steps allocate and choose algorithms"
    trainer.options.evaluate_every = NEVER
    trainer.progress.step = 0  # may have been trained before
    trainer.progress.total_steps = max(trainer.progress.total_steps, warm_up + count + 1)
    steps, totals = Steps(), list[Tensor]()
    watch = _Watch(trainer, warm_up, count, least, budget, steps, after_step)
    with ExitStack() as stack:
        stack.enter_context(replaced(trainer, "train_step", _hearing(trainer.train_step, totals)))
        if trainer.meta_round is not None:
            stack.enter_context(replaced(MetaRound, "__call__", watch.meta_round(MetaRound.__call__)))
        _train(trainer, watch)
        steps.losses = [float(total) for total in totals]
        started = time.perf_counter()
        while trainer.meta_round is not None and len(steps.meta_rounds) < meta_rounds:
            trainer.progress.step = 0
            _train(trainer, _Watch(trainer, 1, 0, 0, 0.0, Steps(), after_step))
            if time.perf_counter() - started > budget:
                break
    return steps


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within the block, ``owner`` has this attribute."""
    own, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


class _Watch(StopSignals):
    """Reads the clock where the loop asks, once a step, whether to stop; and says so when there are enough steps."""

    def __init__(
        self,
        trainer: Trainer,
        warm_up: int,
        count: int,
        least: int,
        budget: float,
        steps: Steps,
        after: Callable[[], None],
    ):
        super().__init__()
        self.trainer = trainer
        self.warm_up, self.most, self.least, self.budget = warm_up, count, least, budget
        self.steps, self.after_step = steps, after
        self.synchronize = synchronizer(trainer.options.device)
        self.done, self.in_meta_round, self.first_round = 0, 0.0, True
        self.begun = self.read = time.perf_counter()

    def check(self, number: int | None = None) -> None:
        if self.trainer.progress.step == self.done:  # asked again between two epochs
            return
        self.synchronize()
        now = time.perf_counter()
        self.done += 1
        if self.done == 1:
            self.steps.first = now - self.read
        if self.done == self.warm_up:
            self.begun = now
        elif self.done > self.warm_up:
            self.steps.seconds.append(now - self.read - self.in_meta_round)
        self.read, self.in_meta_round = now, 0.0
        self.after_step()
        counted = self.done - self.warm_up
        if counted >= self.most or (counted >= self.least and now - self.begun > self.budget):
            raise Stopped("SIGTERM")  # as a signal would, so that the loop ends where it may

    def meta_round(self, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The same, timed; the very first one warms up."""

        def timed(*arguments: Any) -> Tensor:
            self.synchronize()
            start = time.perf_counter()
            outer_loss = call(*arguments)
            self.synchronize()
            self.in_meta_round = time.perf_counter() - start
            if not self.first_round:
                self.steps.meta_rounds.append(self.in_meta_round)
            self.first_round = False
            return outer_loss

        return timed


def _hearing(step: Callable[..., dict[str, Tensor]], totals: list[Tensor]) -> Callable[..., dict[str, Tensor]]:
    """The same step, its total kept, on the device."""

    def heard(*arguments: Any) -> dict[str, Tensor]:
        values = step(*arguments)
        totals.append(values["train/total"].detach())
        return values

    return heard


def _train(trainer: Trainer, watch: _Watch) -> None:
    try:
        trainer.fit(None, Trackers(), watch)
    except Stopped:
        return
    raise AssertionError("training ended before it was stopped")
