"""A training whose operations are called one by one, for programs that time them alone."""

from collections.abc import Iterator
from itertools import count

from mcl.training.trainer import Trainer
from mcl.types import Batch


class StepwiseTraining:
    """Steps, bare steps and meta rounds of a training, each on its own.

    Args:
        trainer: trained in place. Its meta rounds no longer follow its steps.
    """

    def __init__(self, trainer: Trainer):
        self._trainer = trainer
        self._meta_round, trainer.meta_round = trainer.meta_round, None
        self._lr = trainer.optimizers[0].defaults["lr"]
        self.batches = self._batches()
        trainer.learner.train()

    def step(self, batch: Batch) -> None:
        """Take an optimization step and update the meters, as the training loop does."""
        self._trainer.meters.update(self._trainer.train_on_batch(batch), self._trainer.progress.step)
        self._trainer.progress.step += 1

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

    def _batches(self) -> Iterator[Batch]:
        for epoch in count():
            yield from self._trainer.loader.epoch(epoch)
