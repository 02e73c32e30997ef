"""Mutual contrast between the embeddings of several networks, all pairs of their stages at once.

The definitions run over ordered pairs of stages of different networks and ask for four (B, B) blocks of similarities
each. Few of these differ: the block of a stage with itself is the same in all its pairs, and b aᵀ is a bᵀ transposed.
So G stages have G blocks within a stage, and one block for each *unordered* pair across networks. Further,

- the pairs of a stage share its contrast within the network (VCL): only the sum of their weights matters;
- a mean over positives is linear: a product with the mean embedding of the positives gives it without any block;
- with a detached target t, KL(t‖softmax(x)) = logsumexp(x) - t·x - H(t): stages meet in products, not in blocks.

`mcl.textbook.losses` has the definitions as they stand.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.losses.numerics import full_precision


class MutualContrast(NamedTuple):
    """The four terms, scalars."""

    vcl: Tensor  # anchors of a network among its own samples
    soft_vcl: Tensor  # these distributions of two networks, towards each other
    icl: Tensor  # anchors of a network among the samples of another
    soft_icl: Tensor  # these distributions of two networks, towards each other


def mutual_contrast(
    projections: Sequence[Tensor], labels: Tensor, weights: Tensor, *, tau: float, temperature: float
) -> MutualContrast:
    """Layer-wise mutual contrastive learning (L-MCL, TPAMI 2023): each stage with every stage of the other networks.

    The terms are sums over ordered pairs of stages, and means over all anchors of the batch. An anchor without a
    positive in the batch has no hard terms (VCL, ICL). Twice differentiable, in the embeddings and in the weights;
    computed in float32 at least, under autocast too.

    Args:
        projections: list over N >= 2 networks of (S_i, B, D), L2-normalised. Stage counts may differ.
        labels: (B,) classes.
        weights: (G, G, B), G the sum of the S_i: ``weights[p, q]`` weighs both directions of the ordered pair of places
            p and q, places being counted network by network, stage by stage. Blocks of one network with itself are
            ignored.
        tau: temperature of the similarities.
        temperature: further softening of the distributions that networks exchange (the T of distillation).

    Returns:
        The terms. Each pair of stages counts in both orders, as the published loss weights assume.
    """
    assert len(projections) >= 2, "mutual contrast takes at least two networks"
    with torch.autocast(labels.device.type, enabled=False):
        networks = [full_precision(network) for network in projections]
        places = torch.cat(networks)  # (G, B, D)
        sizes = tuple(len(network) for network in networks)
        weights = weights.to(places.dtype)
        # Both orders of a pair share their blocks, so their weights add up.
        weights = (weights + weights.transpose(0, 1)).masked_fill(_same_network(sizes, places.device), 0)

        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = (labels[:, None] == labels) & ~own  # (B, B)
        count = positive.sum(1)
        averaging = positive / count.clamp_min(1)[:, None].to(places.dtype)  # rows of zeros where there is no positive
        has_positive = count > 0  # (B,)
        # Added to similarities, it takes an anchor's own column out of a sum of exponentials. Finite, even two of them
        # together: in a batch of one nothing else is summed, and -inf would turn to NaN.
        without_own = torch.zeros_like(averaging).masked_fill(own, torch.finfo(places.dtype).min / 4)

        # Mean similarity of the anchors of p to their positives in q, for the hard terms of all p and q.
        attraction = torch.einsum("pnd,qnd->pqn", places, averaging @ places) / tau  # (G, G, B)

        # Within a stage: x[p, n, m] compares samples n and m of place p.
        x = places @ places.mT / (tau * temperature)
        repulsion = torch.add(without_own, x, alpha=temperature).logsumexp(2) * has_positive  # (G, B)
        vcl = weights.sum(1) * (repulsion - attraction.diagonal().T)
        normaliser = x.logsumexp(2)
        target = (x - normaliser[:, :, None]).detach().exp()
        overlap = torch.einsum("pnm,qnm->pqn", x, target)  # target of q, similarities of p
        negentropy = (overlap.diagonal().T - normaliser).detach()
        soft_vcl = weights * (negentropy + normaliser[:, None] - overlap)

        # Across networks: x[u, n, m] compares sample n of the first place of pair u with sample m of the second. Rows
        # hold the anchors of the first place, columns those of the second.
        x = _pairs(networks) / (tau * temperature)
        pair_weights = _pairs_of_weights(weights, sizes)  # (U, B)
        similarities = torch.add(without_own, x, alpha=temperature)
        repulsion = (similarities.logsumexp(2) + similarities.logsumexp(1)) * has_positive
        icl = (pair_weights * repulsion).sum() - (weights * attraction).sum()
        row_normaliser, column_normaliser = x.logsumexp(2), x.logsumexp(1)
        with torch.no_grad():
            rows = (x - row_normaliser[:, :, None]).exp()
            columns = (x - column_normaliser[:, None, :]).exp()
            negentropy = (rows * x).sum(2) - row_normaliser + (columns * x).sum(1) - column_normaliser
        overlap = (columns.mT * x).sum(2) + (rows.mT * x).sum(1)  # each direction's target, the other's similarities
        soft_icl = pair_weights * (negentropy + row_normaliser + column_normaliser - overlap)

        batch, soften = len(labels), temperature**2
        return MutualContrast(
            vcl=vcl.sum() / batch,
            soft_vcl=soft_vcl.sum() * (soften / batch),
            icl=icl / batch,
            soft_icl=soft_icl.sum() * (soften / batch),
        )


def last_stage_contrast(
    projections: Sequence[Tensor], labels: Tensor, *, tau: float, temperature: float
) -> MutualContrast:
    """Mutual contrastive learning of the last stages only (MCL, AAAI 2022).

    VCL counts once per network, the other terms once per ordered pair of networks and direction of transfer.

    Args:
        projections: N >= 2 times (B, D), L2-normalised.
        labels: (B,) classes.
        tau: temperature of the similarities.
        temperature: further softening of the distributions that networks exchange.
    """
    networks = len(projections)
    # A half: `mutual_contrast` counts each pair in both orders. Its VCL comes once per pair of a network.
    halves = projections[0].new_full((), 0.5).expand(networks, networks, len(labels))
    terms = mutual_contrast([z[None] for z in projections], labels, halves, tau=tau, temperature=temperature)
    return terms._replace(vcl=terms.vcl / (networks - 1))


def _pairs(networks: Sequence[Tensor]) -> Tensor:
    """Products (U, B, B) of all unordered pairs of places of different networks, from N times (S_i, B, D)."""
    blocks = []
    for i, network in enumerate(networks[:-1]):
        later = torch.cat(list(networks[i + 1 :]))
        (stages, batch, _), others = network.shape, len(later)
        # One matrix product for a network with all later ones. Gathering both ends of each pair instead would
        # scatter-add the gradients: slower, and not deterministic on a GPU.
        product = network.flatten(0, 1) @ later.flatten(0, 1).T
        blocks.append(product.view(stages, batch, others, batch).transpose(1, 2).flatten(0, 1))
    return torch.cat(blocks)


def _pairs_of_weights(weights: Tensor, sizes: Sequence[int]) -> Tensor:
    """The weights (U, B) of the pairs of `_pairs`, from (G, G, B)."""
    return torch.cat(
        [rows[:, sum(sizes[: i + 1]) :].flatten(0, 1) for i, rows in enumerate(weights.split(list(sizes))[:-1])]
    )


@lru_cache
@torch.inference_mode(False)  # an inference tensor, once in the cache, could not be used in training
def _same_network(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """(G, G, 1): whether two places belong to one network. Kept, as making it would wait for the device."""
    network = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return (network[:, None] == network)[:, :, None].to(device)
