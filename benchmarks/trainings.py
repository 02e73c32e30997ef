"""Two trainings with one interface: the one that `train.py` runs, and the reference."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from measuring import Options

from mcl.benchmarking import StepwiseTraining
from mcl.config.compose import compose_train
from mcl.data.dataset import Splits
from mcl.reference.training import TextbookTraining
from mcl.reference.unrolled_gradient import meta_gradient_by_copies
from mcl.training.setup import Parts, assemble
from mcl.types import Batch

CONTIGUOUS_FLOAT32 = ("trainer.precision=float32", "trainer.channels_last=false")
WAYS = {  # settings of ours
    "float32": CONTIGUOUS_FLOAT32,
    "float32, channels last": ("trainer.precision=float32", "trainer.channels_last=true"),
    "bfloat16, channels last": ("trainer.precision=bfloat16", "trainer.channels_last=true"),
}
COMMON = ("trainer.device=cpu", "tracking=none", "trainer.epochs=1000", "schedule=constant", "optimizer.lr=0.01")


def cifar_like(options: Options) -> list[str]:
    """Return overrides for training as on CIFAR-100, on generated images."""
    return [
        *("dataset=synthetic", "dataset.classes=100", f"dataset.image_size={options.side}"),
        *(f"dataset.train_per_class={options.per_class}", "dataset.test_per_class=1"),
        *("dataset.augmentation.padding=4", "dataset.augmentation.flip=true"),
        *(f"pair={options.pair}", f"trainer.batch_size={options.batch}"),
    ]


def current_threads() -> str:
    """Return an override that keeps the present number of threads, also for small batches."""
    return f"trainer.threads={torch.get_num_threads()}"


def build_parts(overrides: Sequence[str]) -> Parts:
    return assemble(compose_train([*COMMON, *overrides]))


def ours(parts: Parts, splits: Splits) -> StepwiseTraining:
    """Return the training that `train.py` runs."""
    return StepwiseTraining(parts.build_trainer(splits, seed=0))


class Textbook:
    """The reference training, on the device of its parts.

    Args:
        parts, splits: see `mcl.reference.training.TextbookTraining`.
        meta_gradient: one of the two in `mcl.reference.unrolled_gradient`.
        autocast: context of the forward pass of a step. The reference itself is float32; loss scaling it has none.
    """

    def __init__(
        self,
        parts: Parts,
        splits: Splits,
        meta_gradient: Callable[..., Any] = meta_gradient_by_copies,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ):
        parts.learner.to(parts.options.device)
        self.training = TextbookTraining(parts, splits, seed=0, meta_gradient=meta_gradient)
        self.device = parts.options.device
        self.batches = map(self._to_device, self.training.all_batches())
        method: Any = self.training.method
        forward = method.terms

        def terms(batch: Batch) -> Any:
            with autocast():
                return forward(batch)

        method.terms = terms

    def step(self, batch: Batch) -> None:
        self.training.descend(batch)

    def meta_round(self, batch: Batch) -> None:
        self.training.meta_round(batch)

    def _to_device(self, batch: Batch) -> Batch:
        images, labels, indices = (tensor.to(self.device) for tensor in batch[:3])
        return batch._replace(images=images, labels=labels, indices=indices)
