"""Mutual contrast of all nodes of different networks at once (L-MCL, arXiv 2207.11518; MCL, arXiv 2104.12565).

Two nodes of different networks embed sample n of a batch as unit vectors a_n and b_n. With the similarities
s_ab[n, m] = a_n·b_m / tau, the four terms of the pair are

- VCL, vanilla contrastive learning: InfoNCE on s_aa and on s_bb. Positives are the other samples of the anchor's class;
  the anchor itself is neither a positive nor in the denominator.
- ICL, interactive contrastive learning: the same on s_ab and on s_ba.
- soft VCL: T² KL(softmax(s_bb / T) ‖ softmax(s_aa / T)) and the opposite direction, the target detached.
- soft ICL: the same on s_ab and s_ba.

Each is a mean over anchors, weighted by the matching weights of the pair and summed over ordered pairs.
`mcl.reference.formulas` computes them exactly so: four (B, B) blocks of similarities for every ordered pair. Few of
these blocks differ, since s_aa is the same in all pairs of a node, and s_ba is s_ab transposed. G nodes need G blocks
within a node, and one block for each *unordered* pair. Further,

- the pairs of a node share its VCL, so only the sum of their weights matters;
- a mean over positives is linear, so one product with the mean embedding of the positives replaces a block;
- for a detached target t, KL(t ‖ softmax(x)) = logsumexp(x) - t·x - H(t), so targets can be mixed before they meet x;
- similarities of unit vectors are at most 1. Subtracting that bound replaces the usual search for a maximum, and the
  exponentials of a block then serve both its rows and its columns.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.errors import UserError
from mcl.losses.numerics import common_dtype, divergence_dtype

# Exponents reach down to -2 / temperature. Second derivatives divide by squares of sums of such exponentials, which
# float32 represents down to exp(-43) and float64 down to exp(-354).
_LOWEST, _LOWEST_IN_FLOAT32 = 2 / 340, 2 / 40


class MutualContrast(NamedTuple):
    """The four terms, scalars."""

    vcl: Tensor  # InfoNCE among a node's own embeddings
    soft_vcl: Tensor  # divergence of these distributions between two nodes
    icl: Tensor  # InfoNCE among the embeddings of a node of another network
    soft_icl: Tensor  # divergence of these distributions between the two directions


def mutual_contrast(
    projections: Sequence[Tensor], labels: Tensor, weights: Tensor, *, tau: float, temperature: float
) -> MutualContrast:
    """Contrast every stage of every network with every stage of the other networks.

    The terms are sums over ordered pairs of nodes and means over all anchors of the batch. An anchor without a positive
    in the batch contributes 0 to VCL and ICL. They are twice differentiable in the embeddings and in the weights.
    Mixed dtypes are promoted to the widest one. The computation uses at least float32, even under autocast, and float64
    if ``tau`` or ``tau * temperature`` is below 0.05, or ``tau * temperature`` is 1 or more.

    Args:
        projections: list over N >= 2 networks of (S_i, B, D), L2-normalized. Stage counts may differ.
        labels: (B,) classes.
        weights: (G, G, B) matching weights of the G nodes, counted network by network, stage by stage. One entry
            weights both directions of its ordered pair of nodes. Blocks of one network with itself are ignored.
        tau: temperature of the similarities.
        temperature: T, further softening of the distributions that networks exchange.

    Returns:
        The terms. Each pair of nodes counts in both orders, as the published loss weights assume.

    Raises:
        UserError: The temperatures are too low for float64, or for a device without float64.
    """
    assert len(projections) >= 2, "mutual contrast takes at least two networks"
    with torch.autocast(labels.device.type, enabled=False):
        networks = _convert(projections, tau, temperature)
        nodes = torch.cat(networks)  # (G, B, D)
        sizes = [len(network) for network in networks]
        weights = weights.to(nodes.dtype)
        # Both orders of a pair share their blocks, so their weights add up.
        weights = (weights + weights.transpose(0, 1)).masked_fill(_same_network(tuple(sizes), nodes.device), 0)

        diagonal = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = (labels[:, None] == labels) & ~diagonal  # (B, B)
        count = positive.sum(1)
        means = (positive / count.clamp_min(1)[:, None].to(nodes.dtype)) @ nodes  # (G, B, D) of the positives, or 0
        hard_weights = weights * (count > 0)
        scale = 1 / (tau * temperature)

        # Within a node: x[p, n, m] compares samples n and m at node p.
        x = torch.baddbmm(nodes.new_full((), -scale), nodes, nodes.mT, alpha=scale)
        repulsion = _log_sum((x * temperature).exp().masked_fill(diagonal, 0), 2) + 1 / tau  # (G, B)
        vcl = hard_weights.sum(1) * (repulsion - (nodes * means).sum(2) / tau)
        exponentials = x.exp()
        total = exponentials.sum(2)
        normalizer = total.log()
        with torch.no_grad():
            target = exponentials / total[:, :, None]
            negentropy = (target * x).sum(2) - normalizer
        soft_vcl = weights.sum(1) * (negentropy + normalizer) - (_mix(weights, target) * x).sum(2)

        # Across networks: one product compares a network with all later ones. Gathering both ends of each pair instead
        # would scatter-add the gradients, which is slower and not deterministic on a GPU.
        pairs = []
        for i, network in enumerate(networks[:-1]):
            start = sum(sizes[:i])
            rows, later = slice(start, start + sizes[i]), slice(start + sizes[i], None)
            pair_weights = weights[rows, later], hard_weights[rows, later]
            pairs.append(
                _cross_network_terms(network, nodes[later], *pair_weights, diagonal, tau=tau, temperature=temperature)
            )
        repulsion, soft_icl = torch.stack(pairs).sum(0)
        icl = repulsion - (_mix(weights, means) * nodes).sum() / tau

        terms = torch.stack([vcl.sum(), soft_vcl.sum() * temperature**2, icl, soft_icl * temperature**2])
        return MutualContrast(*(terms / len(labels)).to(common_dtype(projections)))


def last_stage_contrast(
    projections: Sequence[Tensor], labels: Tensor, *, tau: float, temperature: float
) -> MutualContrast:
    """Contrast the last stages only, as MCL does, given one (B, D) per network; other arguments as `mutual_contrast`.

    VCL counts once per network, the other terms once per ordered pair of networks and direction of transfer.

    Raises:
        UserError: As in `mutual_contrast`.
    """
    networks = len(projections)
    # A half, because `mutual_contrast` counts each pair in both orders. It counts the VCL of a network once per pair.
    halves = projections[0].new_full((), 0.5).expand(networks, networks, len(labels))
    terms = mutual_contrast([z[None] for z in projections], labels, halves, tau=tau, temperature=temperature)
    return terms._replace(vcl=terms.vcl / (networks - 1))


def check_temperatures(tau: float, temperature: float) -> None:
    """Raise ``UserError`` if the temperatures are too low for `mutual_contrast` in float64."""
    if tau * min(1, temperature) < _LOWEST:
        lowest = math.ceil(1e4 * _LOWEST / min(1, temperature)) / 1e4
        raise UserError(
            f"loss.tau={tau}, loss.temperature={temperature}: the exponentials of similarities leave the range of"
            f" float64. Use loss.tau={lowest:g} or more."
        )


def _convert(projections: Sequence[Tensor], tau: float, temperature: float) -> list[Tensor]:
    """Convert all projections to the one dtype that the temperatures require."""
    check_temperatures(tau, temperature)
    if tau * min(1, temperature) >= _LOWEST_IN_FLOAT32:
        dtype = divergence_dtype(projections, tau, temperature)
    elif projections[0].device.type == "mps":
        raise UserError(
            f"loss.tau={tau}, loss.temperature={temperature}: temperatures this low need float64, which MPS does not"
            " support. Use trainer.device=cpu."
        )
    else:
        dtype = torch.float64
    return [network.to(dtype) for network in projections]


def _cross_network_terms(
    network: Tensor,
    later: Tensor,
    weights: Tensor,
    hard_weights: Tensor,
    diagonal: Tensor,
    *,
    tau: float,
    temperature: float,
) -> Tensor:
    """Return (2,): the repulsion of ICL and the soft ICL between a network (S, B, D) and L later nodes (L, B, D).

    Weights (S, L, B) are sums over both orders of a pair. ``diagonal`` (B, B) marks a sample compared with itself.
    """
    stages, batch, others, scale = len(network), network.shape[1], len(later), 1 / (tau * temperature)
    # x[s, n, l, m] compares sample n at stage s with sample m at node l. Sums over m belong to the anchors n, sums over
    # n to the anchors m.
    shift = network.new_full((), -scale)
    x = torch.addmm(shift, network.flatten(0, 1), later.flatten(0, 1).T, alpha=scale).view(stages, batch, others, batch)
    row_weights, hard_row_weights = weights.mT, hard_weights.mT  # (S, B, L)
    off_diagonal = (x * temperature).exp().masked_fill(diagonal[:, None], 0)
    repulsion = (hard_row_weights * (_log_sum(off_diagonal, 3) + 1 / tau)).sum()
    repulsion = repulsion + (hard_weights * (_log_sum(off_diagonal, 1) + 1 / tau)).sum()

    exponentials = x.exp()
    rows, columns = exponentials.sum(3), exponentials.sum(1)  # (S, B, L), (S, L, B)
    row_normalizer, column_normalizer = rows.log(), columns.log()
    with torch.no_grad():
        product = exponentials * x
        row_negentropy = product.sum(3) / rows - row_normalizer
        column_negentropy = product.sum(1) / columns - column_normalizer
        # Swap n and m: the exponentials at [s, m, l, n] move to [s, n, l, m]. Torch copies a transpose of two
        # dimensions in tiles, but not one of four.
        swapped = exponentials.view(stages * batch, others * batch).T.contiguous()
        swapped = swapped.view(others, batch, stages, batch).permute(2, 1, 0, 3)
    product = swapped * x  # each direction's target times the other's similarities
    # Row n is drawn to the distribution of column n and column n to that of row n, with one weight, so the two
    # negentropies may be exchanged.
    row_terms = row_negentropy + row_normalizer - product.sum(3) / columns.detach().mT
    column_terms = column_negentropy + column_normalizer - product.sum(1) / rows.detach().mT
    return torch.stack([repulsion, (row_weights * row_terms).sum() + (weights * column_terms).sum()])


def _mix(weights: Tensor, values: Tensor) -> Tensor:
    """Sum the values (G, B, X) of all nodes with the weights (G, G, B) of each node: (G, B, X)."""
    # Copied to (B, G, G) because torch multiplies batches of non-contiguous matrices one by one.
    return (weights.permute(2, 0, 1).contiguous() @ values.transpose(0, 1)).transpose(0, 1)


def _log_sum(exponentials: Tensor, dim: int) -> Tensor:
    """Return the logarithm of the sum, finite even if the sum is empty, as in a batch of one."""
    return exponentials.sum(dim).clamp_min(torch.finfo(exponentials.dtype).tiny).log()


@lru_cache  # building the mask would wait for the device
@torch.inference_mode(False)  # an inference tensor in the cache could not be used in training
def _same_network(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Return a mask (G, G, 1) that is True if two nodes belong to the same network."""
    network = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return (network[:, None] == network)[:, :, None].to(device)
