"""Mutual contrast against memory banks, written for reading: a loop over all ordered pairs of stages.

Every pair gathers the rows it compares, four times, as the definitions have it (L-MCL on ImageNet, TPAMI 2023).
Columns of a sample are its own row, ``positives`` rows of its class, then rows of other classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.losses.contrast import MutualContrast
from mcl.reference.formulas import Weight, soft_contrast


def similarity(embedding: Tensor, bank: Tensor, columns: Tensor, tau: float) -> Tensor:
    """(B, D) embeddings against the rows (B, C) of a bank (samples, D) that each sample lists: (B, C)."""
    return torch.einsum("bd,bcd->bc", embedding, bank[columns]) / tau


def hard_contrast(similarity: Tensor, positives: int, weight: Tensor) -> Tensor:
    """InfoNCE over the listed columns, the first ``positives`` of which are positives, all in the denominator."""
    return -(weight * F.log_softmax(similarity, dim=1)[:, :positives].sum(1) / positives).mean()


def pair_contrast(
    a: Tensor,
    b: Tensor,
    bank_a: Tensor,
    bank_b: Tensor,
    columns: Tensor,
    positives: int,
    weight: Tensor,
    *,
    tau: float,
    temperature: float,
    reproduce_official_bug: bool = False,
) -> MutualContrast:
    """The four terms of one ordered pair of stages: embeddings (B, D), banks (samples, D), columns (B, C), weight (B,).

    ``reproduce_official_bug`` compares b with the bank of a in VCL and soft VCL.
    """
    others = columns[:, 1:]  # without the own row
    within_a = similarity(a, bank_a, others, tau)
    within_b = similarity(b, bank_a if reproduce_official_bug else bank_b, others, tau)
    a_to_b, b_to_a = similarity(a, bank_b, columns, tau), similarity(b, bank_a, columns, tau)
    return MutualContrast(
        vcl=hard_contrast(within_a, positives, weight) + hard_contrast(within_b, positives, weight),
        soft_vcl=soft_contrast(within_a, within_b, weight, temperature)
        + soft_contrast(within_b, within_a, weight, temperature),
        icl=hard_contrast(a_to_b, positives + 1, weight) + hard_contrast(b_to_a, positives + 1, weight),
        soft_icl=soft_contrast(a_to_b, b_to_a, weight, temperature)
        + soft_contrast(b_to_a, a_to_b, weight, temperature),
    )


def memory_contrast(
    projections: Sequence[Sequence[Tensor]],
    banks: Sequence[Tensor],
    index: Tensor,
    positives: Tensor,
    negatives: Tensor,
    weight: Weight,
    *,
    tau: float,
    temperature: float,
    reproduce_official_bug: bool = False,
) -> MutualContrast:
    """Every ordered pair of networks, every pair of their stages, against banks (samples, D)."""
    columns = torch.cat([index[:, None], positives, negatives], dim=1)
    pairs = [
        pair_contrast(
            a,
            b,
            banks[i],
            banks[j],
            columns,
            positives.shape[1],
            weight(i, k, j, m),
            tau=tau,
            temperature=temperature,
            reproduce_official_bug=reproduce_official_bug,
        )
        for i in range(len(projections))
        for j in range(len(projections))
        if i != j
        for k, a in enumerate(projections[i])
        for m, b in enumerate(projections[j])
    ]
    return MutualContrast(*(torch.stack(values).sum() for values in zip(*pairs, strict=True)))


def updated(bank: Tensor, index: Tensor, final: Tensor, momentum: float) -> Tensor:
    """A bank (samples, D) after the embeddings (B, D) of its last stage were taken in, one after the other."""
    after = bank.clone()
    for sample, embedding in zip(index.tolist(), final, strict=True):
        after[sample] = F.normalize(momentum * bank[sample] + (1 - momentum) * embedding, dim=0)
    return after
