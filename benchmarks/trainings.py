"""Two trainings with one interface: the one that `train.py` runs, and the reference."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from measuring import Options

from mcl.config.compose import compose_train
from mcl.data.dataset import Splits
from mcl.reference.training import TextbookTraining
from mcl.reference.unrolled_gradient import meta_gradient_by_copies
from mcl.training.setup import Parts, assemble
from mcl.types import Batch

PLAIN = ("trainer.precision=float32", "trainer.channels_last=false")
WAYS = {  # in which ours is measured
    "float32": PLAIN,
    "float32, channels last": ("trainer.precision=float32", "trainer.channels_last=true"),
    "bfloat16, channels last": ("trainer.precision=bfloat16", "trainer.channels_last=true"),
}
COMMON = ("trainer.device=cpu", "tracking=none", "trainer.epochs=1000", "schedule=constant", "optimizer.lr=0.01")


def as_on_cifar(options: Options) -> list[str]:
    """Overrides of the recipe of CIFAR-100 on generated images of its kind."""
    return [
        *("dataset=synthetic", "dataset.classes=100", f"dataset.image_size={options.side}"),
        *(f"dataset.train_per_class={options.per_class}", "dataset.test_per_class=1"),
        *("dataset.augmentation.padding=4", "dataset.augmentation.flip=true"),
        *(f"pair={options.pair}", f"trainer.batch_size={options.batch}"),
    ]


def assembled(overrides: Sequence[str]) -> Parts:
    return assemble(compose_train([*COMMON, *overrides]))


class Ours:
    """The training of a configuration, its meta rounds taken apart from its steps."""

    def __init__(self, parts: Parts, splits: Splits):
        self.trainer = parts.build_trainer(splits, seed=0)
        self.round, self.trainer.meta_round = self.trainer.meta_round, None
        self.batches = self._batches()
        self.lr = self.trainer.optimizers[0].defaults["lr"]
        self.trainer.learner.train()

    def step(self, batch: Batch) -> None:
        """One optimisation step, with what the loop makes of its numbers."""
        self.trainer.meters.update(self.trainer.train_on_batch(batch), self.trainer.progress.step)
        self.trainer.progress.step += 1

    def bare_step(self, batch: Batch) -> None:
        """Forward, backward, optimiser, and nothing else."""
        total, _, _ = self.trainer.train_step.model(batch)
        self.trainer.optimizers[0].zero_grad(set_to_none=True)
        total.backward()
        self.trainer.optimizers[0].step()

    def meta_round(self, batch: Batch) -> None:
        assert self.round is not None, "this loss has none"
        self.round(batch, batch, self.lr)

    def _batches(self) -> Iterator[Batch]:
        for epoch in count():
            yield from self.trainer.loader.epoch(epoch)


class Textbook:
    """The reference training; ``meta_gradient`` is one of the two of `mcl.reference.unrolled_gradient`."""

    def __init__(self, parts: Parts, splits: Splits, meta_gradient: Callable[..., Any] = meta_gradient_by_copies):
        self.training = TextbookTraining(parts, splits, seed=0, meta_gradient=meta_gradient)
        self.batches = self.training.all_batches()

    def step(self, batch: Batch) -> None:
        self.training.descend(batch)

    def meta_round(self, batch: Batch) -> None:
        self.training.meta_round(batch)


def keep_threads() -> str:
    """An override: as many threads as now, also for small batches."""
    return f"trainer.threads={torch.get_num_threads()}"
