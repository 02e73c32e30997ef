"""Sources of positives and negatives for L-MCL: the batch itself, or memory banks."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from mcl import distributed
from mcl.errors import UserError, check_choice
from mcl.losses.contrast import MutualContrast, check_temperatures, mutual_contrast
from mcl.losses.contrast_sampler import ContrastSampler
from mcl.losses.memory import MemoryBank
from mcl.types import Batch


class Contrast(nn.Module):
    """Base: maps the embeddings of a batch to the four terms. Its buffers are needed for training only."""

    def check(self, tau: float, temperature: float) -> None:
        """Raise ``UserError`` if the temperatures are too low for the arithmetic."""

    def notes(self, counts: Sequence[int], positives: float | None) -> list[str]:
        """Return notes for the user; arguments as in `Loss.notes`."""
        return []

    def prepare(self, labels: Tensor, *, networks: int, dim: int) -> None:
        """Set up before training, given the class (samples,) of every training image. Called once."""

    def forward(
        self, projections: Sequence[Tensor], batch: Batch, weights: Tensor, *, tau: float, temperature: float
    ) -> MutualContrast:
        """Return the terms, twice differentiable; arguments as in `mutual_contrast`.

        Changes no state, because a meta round calls it several times in a step.
        """
        raise NotImplementedError

    def update(self, projections: Sequence[Tensor], batch: Batch) -> None:
        """Update the state after the terms of a training step. Called once per step."""


class BatchContrast(Contrast):
    """Contrast with the other samples of the batch.

    Args:
        gather: contrast the samples of all processes; otherwise each process contrasts its own.
    """

    def __init__(self, gather: bool = True):
        super().__init__()
        self.gather = gather

    def check(self, tau: float, temperature: float) -> None:
        check_temperatures(tau, temperature)

    def notes(self, counts: Sequence[int], positives: float | None) -> list[str]:
        return rare_positives(positives)

    def forward(
        self, projections: Sequence[Tensor], batch: Batch, weights: Tensor, *, tau: float, temperature: float
    ) -> MutualContrast:
        labels = batch.labels
        if self.gather:
            projections, (labels, weights) = gather_batch(projections, [labels, weights])
        return mutual_contrast(projections, labels, weights, tau=tau, temperature=temperature)


class BankContrast(Contrast):
    """Contrast with rows of memory banks: the sample's own, some of its class, many of other classes, new each step.

    Args:
        momentum: share of a row that an update keeps.
        pos_k: rows of the same class.
        neg_k: rows of other classes.
        reproduce_official_bug: compare as the published ImageNet runs did (see `mcl.losses.memory.MemoryBank`).
        dtype: dtype of the rows; bfloat16 takes half the memory and requires a ``momentum`` of 0.99 or less.
        seed: seed of the initial rows and of the draws.

    Raises:
        UserError: A number is out of its range, there is no such ``dtype``, or ``momentum`` is too high for
            ``bfloat16``.
    """

    bank: MemoryBank
    sampler: ContrastSampler

    def __init__(
        self,
        momentum: float = 0.5,
        pos_k: int = 1,
        neg_k: int = 8192,
        reproduce_official_bug: bool = False,
        dtype: Literal["float32", "bfloat16"] = "float32",
        seed: int = 0,
    ):
        super().__init__()
        if not 0 <= momentum < 1:
            raise UserError(f"loss.contrast.momentum={momentum}: must be at least 0 and below 1.")
        for name, value in (("pos_k", pos_k), ("neg_k", neg_k)):
            if value < 1:
                raise UserError(f"loss.contrast.{name}={value}: must be at least 1.")
        check_choice("loss.contrast.dtype", dtype, ("float32", "bfloat16"))
        if dtype == "bfloat16" and 1 - momentum < torch.finfo(torch.bfloat16).eps:
            raise UserError(
                f"loss.contrast.dtype=bfloat16, loss.contrast.momentum={momentum}: bfloat16 rounds updates this small"
                " away. Use loss.contrast.dtype=float32, or loss.contrast.momentum=0.99 or less."
            )
        self.pos_k, self.neg_k = pos_k, neg_k
        self.make_sampler = partial(ContrastSampler, positives=pos_k, negatives=neg_k, seed=seed)
        self.make_bank = partial(
            MemoryBank, momentum=momentum, reproduce_official_bug=reproduce_official_bug, dtype=dtype
        )
        self.seed = seed

    def notes(self, counts: Sequence[int], positives: float | None) -> list[str]:
        others = sum(counts) - max(counts)
        notes = []
        if self.neg_k > others:
            notes.append(
                f"loss.contrast.neg_k={self.neg_k:,} rows are drawn, with repetitions, of {others:,} images of other"
                " classes: a smaller number costs less."
            )
        if self.pos_k > max(counts) - 1:
            notes.append(
                f"loss.contrast.pos_k={self.pos_k:,} rows are drawn, with repetitions, of {max(counts) - 1:,} other"
                " images of the class at most."
            )
        return notes

    def prepare(self, labels: Tensor, *, networks: int, dim: int) -> None:
        """Build the banks and the sampler on the device of the labels.

        Raises:
            UserError: All labels are the same.
        """
        self.sampler = self.make_sampler(labels)
        generator = torch.Generator().manual_seed(self.seed)  # on the CPU: the same rows on every device
        self.bank = self.make_bank(len(labels), networks, dim, generator=generator).to(labels.device)

    def forward(
        self, projections: Sequence[Tensor], batch: Batch, weights: Tensor, *, tau: float, temperature: float
    ) -> MutualContrast:
        positives, negatives = self.sampler(batch.indices, batch.step)
        return self.bank.contrast(
            projections, batch.indices, positives, negatives, weights, tau=tau, temperature=temperature
        )

    def update(self, projections: Sequence[Tensor], batch: Batch) -> None:
        """Update the banks with the last-stage embeddings of all processes."""
        self.bank.update([network[-1] for network in projections], batch.indices)


def rare_positives(positives: float | None) -> list[str]:
    """Return a note if most images have no other image of their class in a batch."""
    if positives is None or positives >= 1:
        return []
    return [
        f"an image finds {positives:.2g} other images of its class in a batch on average, and adds nothing to the"
        " contrast terms without one: use sampler=class_balanced or a larger trainer.batch_size."
    ]


def gather_batch(projections: Sequence[Tensor], others: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Gather embeddings and other tensors of all processes, in order of rank, in one collective.

    Args:
        projections: one (S_i, B, D) per network.
        others: with B as the last dimension, such as labels (B,).
    """
    sizes = [len(network) for network in projections]
    nodes, *others = distributed.gather_coalesced([torch.cat(list(projections)), *others], [1] + [-1] * len(others))
    return list(nodes.split(sizes)), others
