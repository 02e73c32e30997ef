"""Mutual contrast between the embeddings of several networks, all pairs of their stages at once.

The definitions run over ordered pairs of stages of different networks and ask for four (B, B) blocks of similarities
each. Few of these differ: the block of a stage with itself is the same in all its pairs, and b aᵀ is a bᵀ transposed.
So G stages have G blocks within a stage, and one block for each *unordered* pair across networks. Further,

- the pairs of a stage share its contrast within the network (VCL): only the sum of their weights matters;
- a mean over positives is linear: a product with the mean embedding of the positives gives it without any block;
- with a detached target t, KL(t‖softmax(x)) = logsumexp(x) - t·x - H(t), in which targets may be mixed before they
  meet x;
- no similarity of unit vectors exceeds 1: exponentials of what x lacks of that need no search for a maximum, and those
  of a block serve its rows and its columns.

`mcl.textbook.losses` has the definitions as they stand.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from mcl.losses.numerics import full_precision

_LARGEST_DIFFERENCE = 80  # exp(-80) is a normal number of float32


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
        networks = _precise(projections, tau, temperature)
        places = torch.cat(networks)  # (G, B, D)
        sizes = [len(network) for network in networks]
        weights = weights.to(places.dtype)
        # Both orders of a pair share their blocks, so their weights add up.
        weights = (weights + weights.transpose(0, 1)).masked_fill(_same_network(tuple(sizes), places.device), 0)

        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = (labels[:, None] == labels) & ~own  # (B, B)
        count = positive.sum(1)
        means = (positive / count.clamp_min(1)[:, None].to(places.dtype)) @ places  # (G, B, D) of the positives, or 0
        hard_weights = weights * (count > 0)
        largest, scale = 1 / tau, 1 / (tau * temperature)

        # Within a stage: x[p, n, m] compares samples n and m of place p.
        x = torch.baddbmm(places.new_full((), -scale), places, places.mT, alpha=scale)
        repulsion = _ExpOfOthers.apply(x, temperature, (1, 2)).sum(2).clamp_min(_tiny(x)).log() + largest  # (G, B)
        vcl = hard_weights.sum(1) * (repulsion - (places * means).sum(2) / tau)
        normaliser = x.exp().sum(2).log()
        with torch.no_grad():
            target = (x - normaliser[:, :, None]).exp()
            negentropy = (target * x).sum(2) - normaliser
        soft_vcl = weights.sum(1) * (negentropy + normaliser) - (_mixed(weights, target) * x).sum(2)

        # Across networks: one product compares a network with all later ones. Gathering both ends of each pair instead
        # would scatter-add the gradients: slower, and not deterministic on a GPU.
        across = []
        for i, network in enumerate(networks[:-1]):
            ours, later = slice(sum(sizes[:i]), sum(sizes[: i + 1])), slice(sum(sizes[: i + 1]), None)
            pair_weights = weights[ours, later], hard_weights[ours, later]
            across.append(_across(network, places[later], *pair_weights, tau=tau, temperature=temperature))
        repulsion, soft_icl = torch.stack(across).sum(0)
        icl = repulsion - (_mixed(weights, means) * places).sum() / tau

        terms = torch.stack([vcl.sum(), soft_vcl.sum() * temperature**2, icl, soft_icl * temperature**2])
        return MutualContrast(*(terms / len(labels)).to(full_precision(projections[0]).dtype))


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


def _precise(projections: Sequence[Tensor], tau: float, temperature: float) -> list[Tensor]:
    """float32 at least, and float64 where temperatures are so low that exponentials leave the range of float32."""
    networks = [full_precision(network) for network in projections]
    difference = 2 / (tau * min(1, temperature))  # of the largest and the smallest similarity there can be
    return networks if difference < _LARGEST_DIFFERENCE else [network.double() for network in networks]


def _across(
    network: Tensor, later: Tensor, weights: Tensor, hard_weights: Tensor, *, tau: float, temperature: float
) -> Tensor:
    """The repulsion of ICL and the soft ICL of a network's stages (S, B, D) with others (L, B, D), summed: (2,).

    Weights (S, L, B) are those of both orders of a pair.
    """
    stages, batch, others, scale = len(network), network.shape[1], len(later), 1 / (tau * temperature)
    # x[s, n, l, m] compares sample n of stage s with sample m of stage l. Sums over m are those of the anchors n.
    shift = network.new_full((), -scale)
    x = torch.addmm(shift, network.flatten(0, 1), later.flatten(0, 1).T, alpha=scale).view(stages, batch, others, batch)
    row_weights, hard_row_weights = weights.mT, hard_weights.mT  # (S, B, L)
    e = _ExpOfOthers.apply(x, temperature, (1, 3))
    repulsion = (hard_row_weights * (e.sum(3).clamp_min(_tiny(x)).log() + 1 / tau)).sum()
    repulsion = repulsion + (hard_weights * (e.sum(1).clamp_min(_tiny(x)).log() + 1 / tau)).sum()

    e = x.exp()
    rows, columns = e.sum(3), e.sum(1)  # (S, B, L), (S, L, B)
    row_normaliser, column_normaliser = rows.log(), columns.log()
    e, rows, columns = e.detach(), rows.detach(), columns.detach()
    with torch.no_grad():
        product = e * x
        row_negentropy = product.sum(3) / rows - row_normaliser
        column_negentropy = product.sum(1) / columns - column_normaliser
        # e[s, m, l, n] at [s, n, l, m]. Of two dimensions torch copies the transpose in tiles, of four it does not.
        swapped = e.view(stages * batch, others * batch).T.contiguous()
        swapped = swapped.view(others, batch, stages, batch).permute(2, 1, 0, 3)
    product = swapped * x  # each direction's target, the other's similarities
    row_terms = row_negentropy + row_normaliser - product.sum(3) / columns.mT
    column_terms = column_negentropy + column_normaliser - product.sum(1) / rows.mT
    return torch.stack([repulsion, (row_weights * row_terms).sum() + (weights * column_terms).sum()])


def _mixed(weights: Tensor, of_places: Tensor) -> Tensor:
    """For each place and sample the weighted sum over places: weights (G, G, B), what is summed (G, B, X)."""
    # Copied to (B, G, G), as products of matrices that are not contiguous are taken one by one.
    return (weights.permute(2, 0, 1).contiguous() @ of_places.transpose(0, 1)).transpose(0, 1)


class _ExpOfOthers(Function):
    """exp(factor * x) but for zeros where a sample meets itself: on the diagonal of two dimensions of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, samples: tuple[int, int]) -> Tensor:
        found = torch.mul(x, factor).exp_()
        found.diagonal(dim1=samples[0], dim2=samples[1]).zero_()
        ctx.save_for_backward(found)
        ctx.factor = factor
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (found,) = ctx.saved_tensors
        return grad * found * ctx.factor, None, None


def _tiny(tensor: Tensor) -> float:
    """Where nothing is summed, as in a batch of one, its logarithm is finite."""
    return torch.finfo(tensor.dtype).tiny


@lru_cache
@torch.inference_mode(False)  # an inference tensor, once in the cache, could not be used in training
def _same_network(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """(G, G, 1): whether two places belong to one network. Kept, as making it would wait for the device."""
    network = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return (network[:, None] == network)[:, :, None].to(device)
