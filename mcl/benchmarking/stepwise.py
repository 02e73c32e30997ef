"""A training whose operations are called one by one, for programs that time them alone."""

import time
from collections.abc import Callable, Iterator
from itertools import count

from mcl.benchmarking.steps import NEVER
from mcl.signals import Stopped, StopSignals
from mcl.tracking.tracker import Trackers
from mcl.training.trainer import Trainer
from mcl.types import Batch


class StepwiseTraining:
    """Steps, bare steps, meta rounds and stretches of the loop of a training, each on its own.

    Args:
        trainer: trained in place, without evaluations. Its meta rounds no longer follow its steps.
    """

    def __init__(self, trainer: Trainer):
        self._trainer = trainer
        self._meta_round, trainer.meta_round = trainer.meta_round, None
        self._lr = trainer.optimizers[0].defaults["lr"]
        trainer.options.evaluate_every = NEVER
        self.batches = self._batches()
        trainer.learner.train()

    @property
    def captured(self) -> bool:
        """Whether steps are replayed as CUDA graphs, so far."""
        return getattr(self._trainer.train_step, "enabled", False)

    def step(self, batch: Batch) -> None:
        """Take an optimization step and update the meters, as the training loop does."""
        self._trainer.meters.update(self._trainer.train_on_batch(batch), self._trainer.progress.step)
        self._trainer.progress.step += 1

    def train_step(self, batch: Batch) -> None:
        """Take an optimization step as the training loop does, replayed if it replays steps, and nothing else."""
        self._trainer.train_step(batch)

    def bare_step(self, batch: Batch) -> None:
        """Run forward, backward and the optimizer, and nothing else."""
        total, _, _ = self._trainer.train_step.model(batch)
        self._trainer.optimizers[0].zero_grad(set_to_none=True)
        total.backward()
        self._trainer.optimizers[0].step()

    def meta_round(self, batch: Batch) -> None:
        """Run one meta round, with the same batch inside and outside."""
        assert self._meta_round is not None, "this loss has no meta round"
        self._meta_round(batch, batch, self._lr)

    def read_meters(self) -> dict[str, float]:
        """Return the averages since the last call, which waits for the device."""
        return self._trainer.meters.read()

    def run_loop(self, steps: int, synchronize: Callable[[], None]) -> float:
        """Run the training loop, with its log points and without trackers.

        Args:
            steps: steps to time, after one that is not timed.
            synchronize: waits for the device.

        Returns:
            The seconds of all these steps together.
        """
        stretch = _Stretch(self._trainer, steps, synchronize)
        self._trainer.progress.total_steps = NEVER
        try:
            self._trainer.fit(None, Trackers(), stretch)
        except Stopped:
            return stretch.seconds
        raise AssertionError("training ended before it was stopped")

    def _batches(self) -> Iterator[Batch]:
        for epoch in count():
            yield from self._trainer.loader.epoch(epoch)


class _Stretch(StopSignals):
    """Reads the clock where the loop checks for stop signals: after its first step, and some steps later, its last."""

    def __init__(self, trainer: Trainer, steps: int, synchronize: Callable[[], None]):
        super().__init__()
        self.progress, self.synchronize = trainer.progress, synchronize
        self.first = trainer.progress.step + 1
        self.last = self.first + steps
        self.start = self.seconds = 0.0

    def check(self, number: int | None = None) -> None:
        if self.progress.step == self.first and not self.start:
            self.synchronize()
            self.start = time.perf_counter()
        elif self.progress.step == self.last:
            self.synchronize()
            self.seconds = time.perf_counter() - self.start
            raise Stopped("SIGTERM")
