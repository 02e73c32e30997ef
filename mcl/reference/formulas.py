"""The losses of layer-wise mutual contrastive learning, written for reading: one function a formula, a loop a sum.

Every sum over networks and stages stands as it is defined (MCL, AAAI 2022; L-MCL, TPAMI 2023), with no thought of
speed. The tests hold `mcl.losses` to these, and benchmarks measure against them.
Projections are lists over networks of lists over stages of (B, D) unit vectors; ``weight(i, k, j, m)`` gives the (B,)
matching weights of the ordered pair of stage k of network i and stage m of network j.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.losses.contrast import MutualContrast

Weight = Callable[[int, int, int, int], Tensor]


def hard_contrast(anchors: Tensor, others: Tensor, labels: Tensor, weight: Tensor, tau: float) -> Tensor:
    """InfoNCE over the batch: each anchor against the other samples, those of its class being its positives.

    With ``others`` the anchors themselves this is VCL, with another network's embeddings ICL. The anchor's own column
    is neither a positive nor in the denominator. An anchor without a positive contributes 0.
    """
    similarity = anchors @ others.T / tau  # (B, B)
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None, :]) & ~own
    log_probability = similarity - similarity.masked_fill(own, -torch.inf).logsumexp(1, keepdim=True)
    positives = positive.sum(1).clamp_min(1)  # no positive: a sum of nothing over 1
    return -(weight * log_probability.masked_fill(~positive, 0).sum(1) / positives).mean()


def soft_contrast(student: Tensor, teacher: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """KL divergence of the student's contrastive distribution from the detached teacher's, from (B, B) similarities."""
    target = F.softmax(teacher.detach() / temperature, dim=1)
    difference = F.log_softmax(teacher.detach() / temperature, dim=1) - F.log_softmax(student / temperature, dim=1)
    return temperature**2 * (weight * (target * difference).sum(1)).mean()


def pair_contrast(
    a: Tensor, b: Tensor, labels: Tensor, weight: Tensor, tau: float, temperature: float
) -> MutualContrast:
    """The four terms of one ordered pair of stages, embeddings (B, D), weight (B,)."""
    within_a, within_b = a @ a.T / tau, b @ b.T / tau
    a_to_b, b_to_a = a @ b.T / tau, b @ a.T / tau
    return MutualContrast(
        vcl=hard_contrast(a, a, labels, weight, tau) + hard_contrast(b, b, labels, weight, tau),
        soft_vcl=soft_contrast(within_a, within_b, weight, temperature)
        + soft_contrast(within_b, within_a, weight, temperature),
        icl=hard_contrast(a, b, labels, weight, tau) + hard_contrast(b, a, labels, weight, tau),
        soft_icl=soft_contrast(a_to_b, b_to_a, weight, temperature)
        + soft_contrast(b_to_a, a_to_b, weight, temperature),
    )


def mutual_contrast(
    projections: Sequence[Sequence[Tensor]], labels: Tensor, weight: Weight, *, tau: float, temperature: float
) -> MutualContrast:
    """Layer-wise mutual contrast: every ordered pair of networks, every pair of their stages."""
    pairs = [
        pair_contrast(a, b, labels, weight(i, k, j, m), tau, temperature)
        for i in range(len(projections))
        for j in range(len(projections))
        if i != j
        for k, a in enumerate(projections[i])
        for m, b in enumerate(projections[j])
    ]
    return MutualContrast(*(torch.stack(values).sum() for values in zip(*pairs, strict=True)))


def last_stage_contrast(
    projections: Sequence[Tensor], labels: Tensor, *, tau: float, temperature: float
) -> MutualContrast:
    """The predecessor: one embedding per network, no weights, and its own way of counting pairs."""
    one = projections[0].new_ones(len(labels))
    networks = range(len(projections))
    zero = projections[0].new_zeros(())
    vcl = sum((hard_contrast(z, z, labels, one, tau) for z in projections), zero)
    soft_vcl, icl, soft_icl = zero, zero, zero
    for i in networks:
        for j in networks:
            if i == j:
                continue
            a, b = projections[i], projections[j]
            soft_vcl = soft_vcl + soft_contrast(a @ a.T / tau, b @ b.T / tau, one, temperature)
            icl = icl + hard_contrast(a, b, labels, one, tau)
            soft_icl = soft_icl + soft_contrast(a @ b.T / tau, b @ a.T / tau, one, temperature)
    return MutualContrast(vcl, soft_vcl, icl, soft_icl)


def matching_weight(query: Tensor, key: Tensor) -> Tensor:
    """The weight of two stages, one per sample: sigmoid of the cosine of their (B, dim) matching projections."""
    return torch.sigmoid(F.cosine_similarity(query, key, dim=1))


def classification(logits: Sequence[Sequence[Tensor]], labels: Tensor) -> Tensor:
    """Cross-entropy summed over networks and stages."""
    return torch.stack([F.cross_entropy(stage, labels) for network in logits for stage in network]).sum()


def logit_distillation(students: Sequence[Tensor], teachers: Sequence[Tensor], *, temperature: float) -> Tensor:
    """Every student's (B, C) logits towards every teacher's detached ones, its own included."""
    return torch.stack(
        [
            temperature**2
            * F.kl_div(
                F.log_softmax(student / temperature, dim=1),
                F.softmax(teacher.detach() / temperature, dim=1),
                reduction="batchmean",
            )
            for student in students
            for teacher in teachers
        ]
    ).sum()
