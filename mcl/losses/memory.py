"""Mutual contrast against memory banks: each sample against stored embeddings, in place of its batch.

Batches of large images are too small to contrast with. So each network keeps a bank with one row for every training
image, a moving average of its final embeddings, and a sample meets some columns of each bank: its own row, rows of its
class, and many of other classes, the same columns for all places (the stages of all networks).

The definitions run over ordered pairs of places and gather the columns four times in each. Here the columns of a bank
are gathered once, and one batched product compares them with all places. Pairs of networks share what is left: a place
has one distribution over the columns of a bank, whichever place it meets, and, as in `mcl.losses.contrast`, with a
detached target t, KL(t‖softmax(x)) = logsumexp(x) - t·x - H(t), so that places meet in products.

`mcl.reference.memory_bank` has the definitions as they stand.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mcl import distributed
from mcl.losses.contrast import MutualContrast
from mcl.losses.numerics import common_dtype, divergence_dtype, full_precision, l2_normalize


class MemoryBank(nn.Module):
    """One bank for each network, and the contrast of embeddings with them (L-MCL on ImageNet, TPAMI 2023).

    Args:
        num_samples: training images: rows of a bank.
        networks: N >= 2 networks: banks.
        dim: D of the embeddings.
        momentum: how much of a row an update keeps.
        reproduce_official_bug: in VCL and soft VCL of the ordered networks i and j, compare the embeddings of j with
            the bank of i, as the published code does. The right form, as in the predecessor's code, has their own bank.
        dtype: of the rows. What is computed from them is in float32 at least.
        generator: draws the first rows, uniform with the variance of unit vectors; None takes the global one.
    """

    rows: Tensor  # (N, samples, D)

    def __init__(
        self,
        num_samples: int,
        networks: int,
        dim: int,
        momentum: float = 0.5,
        *,
        reproduce_official_bug: bool = False,
        dtype: Literal["float32", "bfloat16"] = "float32",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        bound = (dim / 3) ** -0.5
        rows = torch.empty(networks, num_samples, dim, dtype=getattr(torch, dtype))
        self.register_buffer("rows", rows.uniform_(-bound, bound, generator=generator))
        self.momentum = momentum
        self.reproduce_official_bug = reproduce_official_bug

    def contrast(
        self,
        projections: Sequence[Tensor],
        index: Tensor,
        positives: Tensor,
        negatives: Tensor,
        weights: Tensor,
        *,
        tau: float,
        temperature: float,
    ) -> MutualContrast:
        """The four terms: sums over ordered pairs of places of different networks, means over the batch.

        ICL is the InfoNCE of a place in the bank of the other network, its positives the own row and those of the
        class. VCL is that in the bank of its own network, without the own row. The soft terms draw the two
        distributions of a pair towards each other. Banks are constants; twice differentiable in the embeddings and in
        the weights; computed in float32 at least, under autocast too, and in float64 where ``tau * temperature`` is 1
        or more.

        Args:
            projections: list over the N networks of (S_i, B, D), L2-normalised. Stage counts may differ.
            index: (B,) int64, the samples' own rows.
            positives: (B, P) rows of their class.
            negatives: (B, K) rows of other classes.
            weights: (G, G, B), G the sum of the S_i: ``weights[p, q]`` weighs both directions of the ordered pair of
                places p and q, places being counted network by network, stage by stage. Blocks of one network with
                itself are ignored.
            tau: temperature of the similarities.
            temperature: further softening of the distributions that networks exchange (the T of distillation).
        """
        networks, drawn = range(len(projections)), positives.shape[1]
        assert len(networks) == len(self.rows) >= 2, "as many networks as banks, two at least"
        with torch.autocast(index.device.type, enabled=False):
            dtype = divergence_dtype(projections, tau, temperature)
            places = torch.cat([network.to(dtype) for network in projections])  # (G, B, D)
            sizes = [len(network) for network in projections]
            columns = torch.cat([index[:, None], positives, negatives], 1)  # (B, C)
            queries = places.transpose(0, 1) / tau
            blocks = [(queries @ self._columns(r, columns, places.dtype).mT).split(sizes, 1) for r in networks]
            weight = [rows.split(sizes, 2) for rows in weights.to(places.dtype).movedim(2, 0).split(sizes, 1)]

            def among_class(r: int, i: int) -> _Scores:
                """Places of network i in bank r, without the own row."""
                return _Scores.of(blocks[r][i][:, :, 1:], drawn, temperature)

            def with_own(r: int, i: int) -> _Scores:
                return _Scores.of(blocks[r][i], drawn + 1, temperature)

            within = [among_class(i, i) for i in networks]
            vcl, icl = [], []
            for i, j in combinations(networks, 2):
                # Both orders of a pair share their distributions, so their weights add up.
                both = weight[i][j] + weight[j][i].mT  # (B, S_i, S_j)
                icl.append(_meet(with_own(j, i), with_own(i, j), both))
                if self.reproduce_official_bug:
                    vcl.append(_meet(within[i], among_class(i, j), weight[i][j]))
                    vcl.append(_meet(within[j], among_class(j, i), weight[j][i]))
                else:
                    vcl.append(_meet(within[i], within[j], both))
            (hard_vcl, soft_vcl), (hard_icl, soft_icl) = torch.stack(vcl).sum(0), torch.stack(icl).sum(0)
            batch, soften = len(index), temperature**2
            terms = (hard_vcl / batch, soft_vcl * (soften / batch), hard_icl / batch, soft_icl * (soften / batch))
            return MutualContrast(*(term.to(common_dtype(projections)) for term in terms))

    @torch.no_grad()
    def update(self, final_projections: Sequence[Tensor], index: Tensor) -> None:
        """Move the rows of a batch towards its embeddings: row = l2_normalize(m * row + (1 - m) * embedding).

        Over several processes, every bank takes in the embeddings of all of them, in order of rank, and so stays the
        same everywhere. Of a sample that comes twice, the last embedding counts.

        Args:
            final_projections: list over the N networks of (B, D).
            index: (B,) int64, the samples' rows.
        """
        new = distributed.gather(torch.stack([full_precision(final) for final in final_projections]), 1)  # (N, B, D)
        index = distributed.gather(index)
        # What is written twice to one row must be the same twice: which comes last is otherwise the device's choice.
        order = torch.arange(len(index), device=index.device)
        last = torch.where(index[:, None] == index, order, 0).amax(1)
        old = self.rows[:, index].to(new.dtype)
        self.rows[:, index] = l2_normalize(torch.lerp(new[:, last], old, self.momentum)).to(self.rows.dtype)

    def _columns(self, bank: int, columns: Tensor, dtype: torch.dtype) -> Tensor:
        """(B, C, D) rows of one bank."""
        return self.rows[bank].index_select(0, columns.flatten()).view(*columns.shape, -1).to(dtype)


class _Scores(NamedTuple):
    """What the S places of one network say of the C columns of one bank."""

    hard: Tensor  # (B, S) InfoNCE: minus the mean log-probability of the positives
    soft: Tensor  # (B, S, C) softened similarities
    normaliser: Tensor  # (B, S) their logsumexp
    target: Tensor  # (B, S, C) their softmax, detached
    negentropy: Tensor  # (B, S) of the target

    @classmethod
    def of(cls, x: Tensor, positives: int, temperature: float) -> "_Scores":
        """From similarities (B, S, C), positives first."""
        soft = x / temperature
        normaliser = soft.logsumexp(2)
        with torch.no_grad():
            target = (soft - normaliser[:, :, None]).exp()
            negentropy = (target * soft).sum(2) - normaliser
        return cls(x.logsumexp(2) - x[:, :, :positives].mean(2), soft, normaliser, target, negentropy)


def _meet(p: _Scores, q: _Scores, weights: Tensor) -> Tensor:
    """The InfoNCE of both sides and their divergences from each other, weighted (B, S_p, S_q) and summed: (2,)."""
    hard = (weights.sum(2) * p.hard).sum() + (weights.sum(1) * q.hard).sum()
    overlap = p.soft @ q.target.mT + p.target @ q.soft.mT  # each side's target, the other's similarities
    ends = (p.normaliser + p.negentropy)[:, :, None] + (q.normaliser + q.negentropy)[:, None]
    return torch.stack([hard, (weights * (ends - overlap)).sum()])
