"""Nearest neighbors and few images a class: votes, ties, draws."""

import pytest
import torch
import torch.nn.functional as F

from mcl.probing import neighbors
from mcl.probing.neighbors import few_shot, nearest_neighbors


def at(*degrees: float) -> torch.Tensor:
    """Return points at these angles, at different distances: cosine does not see them."""
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1) * torch.arange(1, len(degrees) + 1)[:, None]


def test_majority_of_the_nearest_by_cosine_wins() -> None:
    train, labels = at(0, 10, 20, 90, 100), torch.tensor([2, 1, 1, 0, 0])
    predicted = nearest_neighbors(train, labels, at(2, 95), 3, [1, 3, 20])
    assert {k: values.tolist() for k, values in predicted.items()} == {1: [2, 0], 3: [1, 0]}  # five images, no 20


def test_of_equal_votes_the_more_similar_class_wins_and_then_the_lower_label() -> None:
    train, labels = at(0, 30, 50, 60), torch.tensor([1, 1, 0, 0])
    assert nearest_neighbors(train, labels, at(20), 2, [4])[4].tolist() == [1]
    assert nearest_neighbors(train, labels, at(40), 2, [4])[4].tolist() == [0]
    same = torch.ones(4, 3)
    assert nearest_neighbors(same, torch.tensor([2, 1, 2, 1]), torch.ones(1, 3), 3, [4])[4].tolist() == [1]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)
    train, test = torch.randn(50, 8, generator=rng), torch.randn(33, 8, generator=rng)
    labels = torch.arange(50) % 4
    whole = nearest_neighbors(train, labels, test, 4, [1, 5])
    monkeypatch.setattr(neighbors, "_SIMILARITIES", 50 * 7)
    parts = nearest_neighbors(train, labels, test, 4, [1, 5])
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    nearest = (F.normalize(test, dim=1) @ F.normalize(train, dim=1).T).argmax(1)
    assert torch.equal(whole[1], labels[nearest])


def test_few_images_are_classified_by_the_nearest_mean() -> None:
    train, labels = at(0, 10, 80, 90), torch.tensor([0, 0, 1, 1])
    (predicted,) = few_shot(train, labels, at(44, 46), 2, shots=2, draws=1, seed=0)
    assert predicted.tolist() == [0, 1]


def test_draws_depend_on_seed_and_labels_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    train, test = torch.randn(60, 4, generator=rng), torch.randn(40, 4, generator=rng)

    def predicted(seed: int) -> torch.Tensor:
        return torch.stack(list(few_shot(train, labels, test, 3, shots=2, draws=5, seed=seed)))

    first = predicted(0)
    assert torch.equal(first, predicted(0))
    assert not torch.equal(first, predicted(1))
    assert len({tuple(row) for row in first.tolist()}) == 5  # each draw is another one
    more = torch.stack(list(few_shot(train, labels, test, 3, shots=2, draws=2, seed=0)))
    assert torch.equal(first[:2], more)
