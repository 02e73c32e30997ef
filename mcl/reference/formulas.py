"""The losses of mutual contrastive learning, written for reading: one function per formula, one loop per sum.

Every sum over networks and stages is written as it is defined (MCL, arXiv 2104.12565; L-MCL, arXiv 2207.11518),
without regard to speed. The tests compare `mcl.losses` with these functions, and benchmarks measure against them.
Projections are lists over networks of lists over stages of (B, D) unit vectors. ``weight(i, k, j, m)`` returns the (B,)
matching weights of the ordered pair of stage k of network i and stage m of network j.
"""

from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.losses.contrast import MutualContrast

Weight = Callable[[int, int, int, int], Tensor]


def hard_contrast(similarity: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Return InfoNCE from (B, B) similarities of a batch: the positives of an anchor are other samples of its class.

    Within a network this is VCL, across networks ICL. The anchor's own column is neither a positive nor in the
    denominator. An anchor without a positive contributes 0.
    """
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None, :]) & ~own
    log_probability = similarity - similarity.masked_fill(own, -torch.inf).logsumexp(1, keepdim=True)
    positives = positive.sum(1).clamp_min(1)  # without a positive: an empty sum divided by 1
    return -(weight * log_probability.masked_fill(~positive, 0).sum(1) / positives).mean()


def soft_contrast(one: Tensor, other: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """Return T² KL between the softened distributions of two similarities (B, C), both ways, target detached."""
    divergences = []
    for student, teacher in ((one, other), (other, one)):
        target = F.softmax(teacher.detach() / temperature, dim=1)
        difference = F.log_softmax(teacher.detach() / temperature, dim=1) - F.log_softmax(student / temperature, dim=1)
        divergences.append(temperature**2 * (weight * (target * difference).sum(1)).mean())
    return divergences[0] + divergences[1]


def pair_contrast(
    a: Tensor, b: Tensor, labels: Tensor, weight: Tensor, tau: float, temperature: float
) -> MutualContrast:
    """Return the four terms of one ordered pair of stages: embeddings (B, D), weight (B,)."""
    aa, bb, ab, ba = a @ a.T / tau, b @ b.T / tau, a @ b.T / tau, b @ a.T / tau
    return MutualContrast(
        vcl=hard_contrast(aa, labels, weight) + hard_contrast(bb, labels, weight),
        soft_vcl=soft_contrast(aa, bb, weight, temperature),
        icl=hard_contrast(ab, labels, weight) + hard_contrast(ba, labels, weight),
        soft_icl=soft_contrast(ab, ba, weight, temperature),
    )


def sum_over_pairs(stages: Sequence[int], pair: Callable[[int, int, int, int], MutualContrast]) -> MutualContrast:
    """Sum ``pair(i, k, j, m)`` over every ordered pair of networks and every pair of their stages."""
    pairs = [
        pair(i, k, j, m)
        for i, j in permutations(range(len(stages)), 2)
        for k in range(stages[i])
        for m in range(stages[j])
    ]
    return MutualContrast(*(torch.stack(values).sum() for values in zip(*pairs, strict=True)))


def mutual_contrast(
    projections: Sequence[Sequence[Tensor]], labels: Tensor, weight: Weight, *, tau: float, temperature: float
) -> MutualContrast:
    """Return the layer-wise mutual contrast (L-MCL)."""

    def pair(i: int, k: int, j: int, m: int) -> MutualContrast:
        return pair_contrast(projections[i][k], projections[j][m], labels, weight(i, k, j, m), tau, temperature)

    return sum_over_pairs([len(network) for network in projections], pair)


def last_stage_contrast(
    projections: Sequence[Tensor], labels: Tensor, *, tau: float, temperature: float
) -> MutualContrast:
    """Return the contrast of one embedding per network (MCL): no weights, VCL once per network, each pair once."""
    one = projections[0].new_ones(len(labels))
    pairs = [pair_contrast(a, b, labels, one, tau, temperature) for a, b in combinations(projections, 2)]
    _, soft_vcl, icl, soft_icl = (torch.stack(values).sum() for values in zip(*pairs, strict=True))
    vcl = torch.stack([hard_contrast(z @ z.T / tau, labels, one) for z in projections]).sum()
    return MutualContrast(vcl, soft_vcl, icl, soft_icl)


def matching_weight(query: Tensor, key: Tensor) -> Tensor:
    """Return the weight of two stages, one per sample: sigmoid of the cosine of their (B, dim) matching projections."""
    return torch.sigmoid(F.cosine_similarity(query, key, dim=1))


def classification(logits: Sequence[Sequence[Tensor]], labels: Tensor) -> Tensor:
    """Return the cross-entropy summed over networks and stages."""
    return torch.stack([F.cross_entropy(stage, labels) for network in logits for stage in network]).sum()


def logit_distillation(students: Sequence[Tensor], teachers: Sequence[Tensor], *, temperature: float) -> Tensor:
    """Return T² KL of every student's (B, C) logits from every teacher's detached ones, its own included, summed."""
    total = students[0].new_zeros(())
    for student in students:
        for teacher in teachers:
            target = F.softmax(teacher.detach() / temperature, dim=1)
            predicted = F.log_softmax(student / temperature, dim=1)
            total = total + temperature**2 * F.kl_div(predicted, target, reduction="batchmean")
    return total
