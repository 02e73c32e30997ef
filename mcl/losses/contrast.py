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

`mcl.reference.formulas` has the definitions as they stand.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.errors import UserError
from mcl.losses.numerics import common_dtype, divergence_dtype

# Similarities differ by 2 / temperature at most. Second derivatives divide by squares of sums of exponentials of that,
# which are numbers of float32 down to exp(-43), of float64 down to exp(-354).
_LOWEST, _LOWEST_OF_FLOAT32 = 2 / 340, 2 / 40


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
    computed in float32 at least, under autocast too, and in float64 where ``tau`` or ``tau * temperature`` is below
    0.05, or ``tau * temperature`` 1 or more. Networks of different dtypes meet in the widest.

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

    Raises:
        UserError: temperatures too low for float64, or for a device that has none.
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
        scale = 1 / (tau * temperature)

        # Within a stage: x[p, n, m] compares samples n and m of place p.
        x = torch.baddbmm(places.new_full((), -scale), places, places.mT, alpha=scale)
        repulsion = _log_sum((x * temperature).exp().masked_fill(own, 0), 2) + 1 / tau  # (G, B)
        vcl = hard_weights.sum(1) * (repulsion - (places * means).sum(2) / tau)
        exponentials = x.exp()
        total = exponentials.sum(2)
        normaliser = total.log()
        with torch.no_grad():
            target = exponentials / total[:, :, None]
            negentropy = (target * x).sum(2) - normaliser
        soft_vcl = weights.sum(1) * (negentropy + normaliser) - (_mixed(weights, target) * x).sum(2)

        # Across networks: one product compares a network with all later ones. Gathering both ends of each pair instead
        # would scatter-add the gradients: slower, and not deterministic on a GPU.
        across = []
        for i, network in enumerate(networks[:-1]):
            ours, later = slice(sum(sizes[:i]), sum(sizes[: i + 1])), slice(sum(sizes[: i + 1]), None)
            pair_weights = weights[ours, later], hard_weights[ours, later]
            across.append(_across(network, places[later], *pair_weights, own, tau=tau, temperature=temperature))
        repulsion, soft_icl = torch.stack(across).sum(0)
        icl = repulsion - (_mixed(weights, means) * places).sum() / tau

        terms = torch.stack([vcl.sum(), soft_vcl.sum() * temperature**2, icl, soft_icl * temperature**2])
        return MutualContrast(*(terms / len(labels)).to(common_dtype(projections)))


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


def check_temperatures(tau: float, temperature: float) -> None:
    """Raises ``UserError`` where they are too low for `mutual_contrast`."""
    if tau * min(1, temperature) < _LOWEST:
        lowest = math.ceil(1e4 * _LOWEST / min(1, temperature)) / 1e4
        raise UserError(
            f"loss.tau={tau}, loss.temperature={temperature}: exponentials of similarities leave the range of numbers."
            f" Use loss.tau={lowest:g} or more."
        )


def _precise(projections: Sequence[Tensor], tau: float, temperature: float) -> list[Tensor]:
    """In one dtype: float32 at least, float64 where the temperatures ask for it."""
    check_temperatures(tau, temperature)
    if tau * min(1, temperature) >= _LOWEST_OF_FLOAT32:
        dtype = divergence_dtype(projections, tau, temperature)
        return [network.to(dtype) for network in projections]
    if projections[0].device.type == "mps":
        raise UserError(
            f"loss.tau={tau}, loss.temperature={temperature}: temperatures this low need float64, which MPS does not"
            " support."
            " Use trainer.device=cpu."
        )
    return [network.double() for network in projections]


def _across(
    network: Tensor,
    later: Tensor,
    weights: Tensor,
    hard_weights: Tensor,
    own: Tensor,
    *,
    tau: float,
    temperature: float,
) -> Tensor:
    """The repulsion of ICL and the soft ICL of a network's stages (S, B, D) with others (L, B, D), summed: (2,).

    Weights (S, L, B) are those of both orders of a pair; ``own`` (B, B) is where a sample meets itself.
    """
    stages, batch, others, scale = len(network), network.shape[1], len(later), 1 / (tau * temperature)
    # x[s, n, l, m] compares sample n of stage s with sample m of stage l. Sums over m are those of the anchors n, sums
    # over n those of the anchors m.
    shift = network.new_full((), -scale)
    x = torch.addmm(shift, network.flatten(0, 1), later.flatten(0, 1).T, alpha=scale).view(stages, batch, others, batch)
    row_weights, hard_row_weights = weights.mT, hard_weights.mT  # (S, B, L)
    of_others = (x * temperature).exp().masked_fill(own[:, None], 0)
    repulsion = (hard_row_weights * (_log_sum(of_others, 3) + 1 / tau)).sum()
    repulsion = repulsion + (hard_weights * (_log_sum(of_others, 1) + 1 / tau)).sum()

    exponentials = x.exp()
    rows, columns = exponentials.sum(3), exponentials.sum(1)  # (S, B, L), (S, L, B)
    row_normaliser, column_normaliser = rows.log(), columns.log()
    with torch.no_grad():
        product = exponentials * x
        row_negentropy = product.sum(3) / rows - row_normaliser
        column_negentropy = product.sum(1) / columns - column_normaliser
        # Those of [s, m, l, n] at [s, n, l, m]. Of two dimensions torch copies the transpose in tiles, of four it does
        # not.
        swapped = exponentials.view(stages * batch, others * batch).T.contiguous()
        swapped = swapped.view(others, batch, stages, batch).permute(2, 1, 0, 3)
    product = swapped * x  # each direction's target, the other's similarities
    # Row n is drawn to the distribution of column n and column n to that of row n, by one weight: so the two
    # negentropies may change places.
    row_terms = row_negentropy + row_normaliser - product.sum(3) / columns.detach().mT
    column_terms = column_negentropy + column_normaliser - product.sum(1) / rows.detach().mT
    return torch.stack([repulsion, (row_weights * row_terms).sum() + (weights * column_terms).sum()])


def _mixed(weights: Tensor, of_places: Tensor) -> Tensor:
    """For each place and sample the weighted sum over places: weights (G, G, B), what is summed (G, B, X)."""
    # Copied to (B, G, G), as products of matrices that are not contiguous are taken one by one.
    return (weights.permute(2, 0, 1).contiguous() @ of_places.transpose(0, 1)).transpose(0, 1)


def _log_sum(exponentials: Tensor, dim: int) -> Tensor:
    """Finite also where there are none to sum, as in a batch of one."""
    return exponentials.sum(dim).clamp_min(torch.finfo(exponentials.dtype).tiny).log()


@lru_cache
@torch.inference_mode(False)  # an inference tensor, once in the cache, could not be used in training
def _same_network(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """(G, G, 1): whether two places belong to one network. Kept, as making it would wait for the device."""
    network = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return (network[:, None] == network)[:, :, None].to(device)
