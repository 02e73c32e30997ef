"""Sources of positives and negatives: the batch itself, or memory banks."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mcl import distributed
from mcl.errors import UserError
from mcl.losses.contrast import MutualContrast, check_temperatures, mutual_contrast
from mcl.losses.contrast_sampler import ContrastSampler
from mcl.losses.memory import MemoryBank
from mcl.types import Batch


class Contrast(nn.Module):
    """Base: called with a batch's embeddings it gives the four terms. What it keeps in buffers is for training only."""

    def check(self, tau: float, temperature: float) -> None:
        """Raises ``UserError`` where temperatures are too low for the arithmetic."""

    def prepare(self, labels: Tensor, *, networks: int, dim: int) -> None:
        """Told once before training: the class (samples,) of every training image, and what embeddings will come."""

    def forward(
        self, projections: Sequence[Tensor], batch: Batch, weights: Tensor, *, tau: float, temperature: float
    ) -> MutualContrast:
        """The terms, differentiable twice. Changes nothing, so that it may be called any number of times in a step.

        Args:
            projections: list over networks of (S_i, B, D), L2-normalised.
            batch: whose embeddings they are.
            weights: (G, G, B) of the ordered pairs of all G stages, counted network by network, stage by stage.
            tau: temperature of the similarities.
            temperature: further softening of the distributions that networks exchange.
        """
        raise NotImplementedError

    def update(self, projections: Sequence[Tensor], batch: Batch) -> None:
        """Told once in each training step, after its terms."""


class BatchContrast(Contrast):
    """With the other samples of the batch.

    Args:
        gather: over several processes, contrast all their samples; else each process contrasts its own share.
    """

    def __init__(self, gather: bool = True):
        super().__init__()
        self.gather = gather

    def check(self, tau: float, temperature: float) -> None:
        check_temperatures(tau, temperature)

    def forward(
        self, projections: Sequence[Tensor], batch: Batch, weights: Tensor, *, tau: float, temperature: float
    ) -> MutualContrast:
        labels = batch.labels
        if self.gather:
            projections, labels = whole_batch(projections, labels)
            weights = distributed.gather(weights, -1)
        return mutual_contrast(projections, labels, weights, tau=tau, temperature=temperature)


class BankContrast(Contrast):
    """With the rows of memory banks: the sample's own, some of its class, many of other classes, drawn anew each step.

    Args:
        momentum: how much of a row stays when its sample comes by.
        pos_k: rows of the same class.
        neg_k: rows of other classes.
        reproduce_official_bug: compare as the published ImageNet runs did (see `mcl.losses.memory.MemoryBank`).
        dtype: of the rows; bfloat16 takes half the memory, and needs a ``momentum`` of 0.99 or less.
        seed: of the first rows and of the draws.
    """

    bank: MemoryBank
    draws: ContrastSampler

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
        if dtype not in ("float32", "bfloat16"):
            raise UserError(f"loss.contrast.dtype={dtype}: must be float32 or bfloat16.")
        if dtype == "bfloat16" and 1 - momentum < torch.finfo(torch.bfloat16).eps:
            raise UserError(
                f"loss.contrast.dtype=bfloat16, loss.contrast.momentum={momentum}: updates this small are lost in"
                " rounding. Use loss.contrast.dtype=float32, or loss.contrast.momentum=0.99 or less."
            )
        self.momentum = momentum
        self.pos_k = pos_k
        self.neg_k = neg_k
        self.reproduce_official_bug = reproduce_official_bug
        self.dtype = dtype
        self.seed = seed

    def prepare(self, labels: Tensor, *, networks: int, dim: int) -> None:
        """Make the banks and the tables for drawing, on the device of the labels.

        Raises:
            UserError: all labels are the same.
        """
        self.draws = ContrastSampler(labels, self.pos_k, self.neg_k, self.seed)
        self.bank = MemoryBank(
            len(labels),
            networks,
            dim,
            self.momentum,
            reproduce_official_bug=self.reproduce_official_bug,
            dtype=self.dtype,
            generator=torch.Generator().manual_seed(self.seed),  # the same rows on every device, in every process
        ).to(labels.device)

    def forward(
        self, projections: Sequence[Tensor], batch: Batch, weights: Tensor, *, tau: float, temperature: float
    ) -> MutualContrast:
        positives, negatives = self.draws(batch.indices, batch.step)
        return self.bank.contrast(
            projections, batch.indices, positives, negatives, weights, tau=tau, temperature=temperature
        )

    def update(self, projections: Sequence[Tensor], batch: Batch) -> None:
        """Let the banks take in the final stages of the batch, those of all processes."""
        self.bank.update([network[-1] for network in projections], batch.indices)


def whole_batch(projections: Sequence[Tensor], labels: Tensor) -> tuple[list[Tensor], Tensor]:
    """The embeddings, N times (S_i, B, D), and the labels (B,) of all processes, in order of rank, as one batch."""
    sizes = [len(network) for network in projections]
    places = distributed.gather(torch.cat(list(projections)), 1)  # one message for all
    return list(places.split(sizes)), distributed.gather(labels)
