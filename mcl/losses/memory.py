"""Mutual contrast against memory banks, the ImageNet form of L-MCL (arXiv 2207.11518).

Batches of large images are too small to contrast with. Each network therefore keeps a bank: one row for every training
image, a moving average of its last-stage embeddings. A sample is compared with some columns of each bank: its own row,
rows of its class, and many rows of other classes. The columns are the same for all nodes. Node a of network i and node
b of network j give the four terms of `mcl.losses.contrast`:

- VCL: InfoNCE of a in bank i and of b in bank j, without the own row;
- ICL: InfoNCE of a in bank j and of b in bank i, the own row among the positives;
- soft VCL and soft ICL: T² KL between the two distributions, in both directions, the target detached.

All positives stay in the denominator. `mcl.reference.memory_bank` computes this literally, with four gathers of rows
for every ordered pair of nodes. Here the columns of a bank are gathered once, and one batched product compares them
with all nodes. A node has one distribution over the columns of a bank, whichever node it meets; pairs meet in products,
through the identity for KL in `mcl.losses.contrast`.
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
    """One bank for each network, and the contrast of embeddings with them.

    Args:
        num_samples: training images, the rows of a bank.
        networks: number of networks, N >= 2.
        dim: dimension D of the embeddings.
        momentum: share of a row that an update keeps.
        reproduce_official_bug: in VCL and soft VCL of the ordered networks i and j, compare the embeddings of j with
            the bank of i, as the published L-MCL code does. By default, compare them with their own bank, as the MCL
            code does.
        dtype: dtype of the rows. The computation uses at least float32.
        generator: draws the initial rows, uniform with the variance of unit vectors; None uses the global generator.
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
        """Return the four terms: sums over ordered pairs of nodes of different networks, means over the batch.

        Banks are constants. The terms are twice differentiable in the embeddings and in the weights. The computation
        uses at least float32, even under autocast, and float64 if ``tau * temperature`` is 1 or more.

        Args:
            projections: list over the N networks of (S_i, B, D), L2-normalized. Stage counts may differ.
            index: (B,) int64, the samples' own rows.
            positives: (B, P) rows of their class.
            negatives: (B, K) rows of other classes.
            weights, tau, temperature: as in `mcl.losses.contrast.mutual_contrast`.
        """
        networks, num_positives = range(len(projections)), positives.shape[1]
        assert len(networks) == len(self.rows) >= 2, "mutual contrast takes one bank per network, and at least two"
        with torch.autocast(index.device.type, enabled=False):
            dtype = divergence_dtype(projections, tau, temperature)
            nodes = torch.cat([network.to(dtype) for network in projections])  # (G, B, D)
            sizes = [len(network) for network in projections]
            columns = torch.cat([index[:, None], positives, negatives], 1)  # (B, C)
            queries = nodes.transpose(0, 1) / tau
            # similarity[r][i]: (B, S_i, C), the stages of network i in bank r. weight[i][j]: (B, S_i, S_j).
            similarity = [(queries @ self._gather(r, columns, nodes.dtype).mT).split(sizes, 1) for r in networks]
            weight = [rows.split(sizes, 2) for rows in weights.to(nodes.dtype).movedim(2, 0).split(sizes, 1)]

            def scores(bank: int, network: int, *, include_own_row: bool) -> _Scores:
                first = 0 if include_own_row else 1  # column 0 is the samples' own row
                return _Scores.of(similarity[bank][network][:, :, first:], num_positives + 1 - first, temperature)

            within_network = [scores(i, i, include_own_row=False) for i in networks]
            vcl, icl = [], []
            for i, j in combinations(networks, 2):
                # Both orders of a pair share their distributions, so their weights add up.
                pair_weights = weight[i][j] + weight[j][i].mT  # (B, S_i, S_j)
                j_in_i, i_in_j = scores(j, i, include_own_row=True), scores(i, j, include_own_row=True)
                icl.append(_pair_terms(j_in_i, i_in_j, pair_weights))
                if self.reproduce_official_bug:
                    vcl.append(_pair_terms(within_network[i], scores(i, j, include_own_row=False), weight[i][j]))
                    vcl.append(_pair_terms(within_network[j], scores(j, i, include_own_row=False), weight[j][i]))
                else:
                    vcl.append(_pair_terms(within_network[i], within_network[j], pair_weights))
            (hard_vcl, soft_vcl), (hard_icl, soft_icl) = torch.stack(vcl).sum(0), torch.stack(icl).sum(0)
            batch, soften = len(index), temperature**2
            terms = (hard_vcl / batch, soft_vcl * (soften / batch), hard_icl / batch, soft_icl * (soften / batch))
            return MutualContrast(*(term.to(common_dtype(projections)) for term in terms))

    @torch.no_grad()
    def update(self, final_projections: Sequence[Tensor], index: Tensor) -> None:
        """Move the rows of a batch towards its embeddings: row = l2_normalize(m * row + (1 - m) * embedding).

        Every process applies the embeddings of all processes, in order of rank, so the banks stay equal. If a sample
        occurs twice, its last embedding counts.

        Args:
            final_projections: list over the N networks of (B, D).
            index: (B,) int64, the samples' rows.
        """
        new = torch.stack([full_precision(final) for final in final_projections])  # (N, B, D)
        new, index = distributed.gather_coalesced([new, index], [1, 0])
        # The order of two writes to one row depends on the device, so both must write the same value.
        order = torch.arange(len(index), device=index.device)
        last = torch.where(index[:, None] == index, order, 0).amax(1)
        old = self.rows[:, index].to(new.dtype)
        self.rows[:, index] = l2_normalize(torch.lerp(new[:, last], old, self.momentum)).to(self.rows.dtype)

    def _gather(self, bank: int, columns: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the rows (B, C, D) of one bank."""
        return self.rows[bank].index_select(0, columns.flatten()).view(*columns.shape, -1).to(dtype)


class _Scores(NamedTuple):
    """The S stages of one network compared with the C columns of one bank."""

    hard: Tensor  # (B, S) InfoNCE: minus the mean log-probability of the positives
    soft: Tensor  # (B, S, C) softened similarities
    normalizer: Tensor  # (B, S) their logsumexp
    target: Tensor  # (B, S, C) their softmax, detached
    negentropy: Tensor  # (B, S) of the target

    @classmethod
    def of(cls, similarity: Tensor, positives: int, temperature: float) -> "_Scores":
        """Compute the scores of similarities (B, S, C) whose first columns are the positives."""
        soft = similarity / temperature
        normalizer = soft.logsumexp(2)
        with torch.no_grad():
            target = (soft - normalizer[:, :, None]).exp()
            negentropy = (target * soft).sum(2) - normalizer
        hard = similarity.logsumexp(2) - similarity[:, :, :positives].mean(2)
        return cls(hard, soft, normalizer, target, negentropy)


def _pair_terms(p: _Scores, q: _Scores, weights: Tensor) -> Tensor:
    """Return (2,): the InfoNCE of both sides and their mutual divergences, weighted by (B, S_p, S_q) and summed."""
    hard = (weights.sum(2) * p.hard).sum() + (weights.sum(1) * q.hard).sum()
    overlap = p.soft @ q.target.mT + p.target @ q.soft.mT  # each side's target times the other's similarities
    ends = (p.normalizer + p.negentropy)[:, :, None] + (q.normalizer + q.negentropy)[:, None]
    return torch.stack([hard, (weights * (ends - overlap)).sum()])
