"""Mutual contrast against memory banks, written for reading: a loop over all ordered pairs of stages.

Every pair gathers the rows that it compares, four times, as the definitions have it (L-MCL on ImageNet, arXiv
2207.11518). The columns of a sample are its own row, ``positives`` rows of its class, then rows of other classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.losses.contrast import MutualContrast
from mcl.reference.formulas import Weight, soft_contrast, sum_over_pairs


def similarity(embedding: Tensor, bank: Tensor, columns: Tensor, tau: float) -> Tensor:
    """Compare embeddings (B, D) with each sample's columns (B, C) of a bank (samples, D): (B, C)."""
    return torch.einsum("bd,bcd->bc", embedding, bank[columns]) / tau


def hard_contrast(similarity: Tensor, positives: int, weight: Tensor) -> Tensor:
    """Return InfoNCE over the columns, the first of which are the ``positives``; all are in the denominator."""
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
    """Return the four terms of a pair of stages: embeddings (B, D), banks (samples, D), columns (B, C), weight (B,).

    ``reproduce_official_bug`` compares b with the bank of a in VCL and soft VCL.
    """
    others = columns[:, 1:]  # without the own row
    aa = similarity(a, bank_a, others, tau)
    bb = similarity(b, bank_a if reproduce_official_bug else bank_b, others, tau)
    ab, ba = similarity(a, bank_b, columns, tau), similarity(b, bank_a, columns, tau)
    return MutualContrast(
        vcl=hard_contrast(aa, positives, weight) + hard_contrast(bb, positives, weight),
        soft_vcl=soft_contrast(aa, bb, weight, temperature),
        icl=hard_contrast(ab, positives + 1, weight) + hard_contrast(ba, positives + 1, weight),
        soft_icl=soft_contrast(ab, ba, weight, temperature),
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
    """Return the mutual contrast of all stages of different networks against banks (samples, D)."""
    columns, count = torch.cat([index[:, None], positives, negatives], dim=1), positives.shape[1]
    options: dict[str, Any] = {
        "tau": tau,
        "temperature": temperature,
        "reproduce_official_bug": reproduce_official_bug,
    }

    def pair(i: int, k: int, j: int, m: int) -> MutualContrast:
        a, b, w = projections[i][k], projections[j][m], weight(i, k, j, m)
        return pair_contrast(a, b, banks[i], banks[j], columns, count, w, **options)

    return sum_over_pairs([len(network) for network in projections], pair)


def updated_bank(bank: Tensor, index: Tensor, final: Tensor, momentum: float) -> Tensor:
    """Return a bank (samples, D) after it took in the last-stage embeddings (B, D), one after the other."""
    after = bank.clone()
    for sample, embedding in zip(index.tolist(), final, strict=True):
        after[sample] = F.normalize(momentum * bank[sample] + (1 - momentum) * embedding, dim=0)
    return after
