"""Classify by the nearest images in the space of features: k nearest neighbors, and the nearest class mean."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.data.seeding import generator

_SIMILARITIES = 2**24  # held at once


def nearest_neighbors(
    train: Tensor, labels: Tensor, test: Tensor, classes: int, ks: Sequence[int]
) -> dict[int, Tensor]:
    """Classify by the majority of the k training images with the highest cosine similarity.

    If classes have equally many of them, the one whose neighbors are more similar in sum wins, then the lower label.

    Args:
        train: features (N, d).
        labels: (N,).
        test: features (M, d).
        classes: C.
        ks: numbers of neighbors; those above N are left out.

    Returns:
        The predicted labels (M,), by k.
    """
    ks = [k for k in ks if k <= len(train)]
    train, parts = F.normalize(train, dim=1), []
    for chunk in F.normalize(test, dim=1).split(max(1, _SIMILARITIES // len(train))):
        nearest = (chunk @ train.T).topk(max(ks, default=1), dim=1)
        votes = F.one_hot(labels[nearest.indices], classes)  # (m, k, C)
        parts.append([_majority(votes[:, :k], nearest.values[:, :k]) for k in ks])
    return {k: torch.cat([part[i] for part in parts]) for i, k in enumerate(ks)}


def _majority(votes: Tensor, similarities: Tensor) -> Tensor:
    """Return the label (m,) with the most votes (m, k, C); a vote weighs more than all similarities (m, k) together."""
    k = similarities.shape[1]
    counts = votes.sum(1).double()
    sums = (votes * similarities[:, :, None].double()).sum(1)
    scores = counts * (2 * k + 1) + sums
    return _first_largest(scores)


def few_shot(
    train: Tensor, labels: Tensor, test: Tensor, classes: int, shots: int, draws: int, seed: int
) -> Iterator[Tensor]:
    """Classify by the nearest class mean of a few images of each class, drawn several times.

    Features are scaled to unit length before and after they are averaged. The draws depend on the labels, the seed and
    ``shots`` alone, so that networks are compared on the same draws.

    Args:
        train: features (N, d).
        labels: (N,); each class has at least ``shots`` images.
        test: features (M, d).
        classes: C.
        shots: images of each class.
        draws: how often they are drawn.
        seed: of the draws.

    Yields:
        The predicted labels (M,) of each draw.
    """
    train, test = F.normalize(train, dim=1), F.normalize(test, dim=1)
    members = [(labels == label).nonzero().flatten() for label in range(classes)]
    for draw in range(draws):
        rng = generator("few-shot", seed, shots, draw)
        chosen = torch.stack([each[torch.randperm(len(each), generator=rng)[:shots]] for each in members])  # (C, shots)
        means = F.normalize(train[chosen].mean(1), dim=1)
        yield _first_largest(test @ means.T)


def _first_largest(scores: Tensor) -> Tensor:
    """Return the index (m,) of the largest of (m, C) scores; of equal ones, the lowest."""
    is_largest = scores == scores.amax(1, keepdim=True)
    return (is_largest.cumsum(1) == 0).sum(1)
