"""The linear probe: the minimum of its objective, and the choice of its weight decay."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mcl.probing.linear import WEIGHT_DECAYS, choose_weight_decay, fit, is_extreme


def points(count: int, seed: int, noise: float = 1.5) -> tuple[Tensor, Tensor]:
    """Return features (count, 6) of three classes around three centers, of very different scales, and labels."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centers = torch.eye(3).repeat(1, 2)
    features = centers[labels] + noise * torch.randn(count, 6, generator=rng)
    return features * torch.tensor([1.0, 100.0, 0.01, 1.0, 5.0, 1.0]) + 3, labels


@pytest.mark.parametrize(("weight_decay", "noise"), [(1e-3, 1.5), (0.1, 1.5), (1e-5, 0.3)])
def test_weights_are_those_of_scikit_learn(weight_decay: float, noise: float) -> None:
    features, labels = points(120, seed=0, noise=noise)
    classifier = fit(features, labels, 3, weight_decay)
    standard = ((features - features.mean(0)) / features.std(0, correction=0)).double().numpy()
    expected = LogisticRegression(C=1 / (weight_decay * 120), tol=1e-8, max_iter=5000).fit(standard, labels.numpy())
    weight = classifier.weight - classifier.weight.mean(0)  # the softmax does not see what all classes share
    largest = max(1.0, float(abs(expected.coef_).max()))
    assert torch.allclose(weight, torch.from_numpy(expected.coef_).float(), atol=5e-3 * largest)
    assert classifier.predict(features).tolist() == expected.predict(standard).tolist()


def test_a_start_changes_nothing_but_rounding() -> None:
    features, labels = points(90, seed=1)
    cold = fit(features, labels, 3, 0.01)
    warm = fit(features, labels, 3, 0.01, fit(features, labels, 3, 1.0))
    assert torch.allclose(cold.weight, warm.weight, atol=1e-3)


def test_constant_features_do_no_harm() -> None:
    features, labels = points(60, seed=2, noise=0.1)
    features[:, 5] = 7.0
    classifier = fit(features, labels, 3, 1e-3)
    assert torch.isfinite(classifier.weight).all()
    assert torch.equal(classifier.predict(features), labels)


def test_strongest_of_equally_good_weight_decays_is_chosen() -> None:
    train, validation = points(60, seed=3, noise=0.05), points(30, seed=4, noise=0.05)
    chosen = choose_weight_decay(train, validation, 3)
    assert chosen.correct == 30
    weaker = [decay for decay in WEIGHT_DECAYS if decay < chosen.weight_decay]
    assert all(choose_weight_decay(train, validation, 3, [decay]).correct == 30 for decay in weaker[:2])
    assert is_extreme(WEIGHT_DECAYS[0])
    assert not is_extreme(WEIGHT_DECAYS[1])


def test_noise_needs_more_weight_decay() -> None:
    rng = torch.Generator().manual_seed(5)
    features, labels = points(45, seed=5)
    noisy = torch.cat([features, 2 * torch.randn(45, 40, generator=rng)], dim=1)
    validation, truth = points(600, seed=6)
    wide = torch.cat([validation, 2 * torch.randn(600, 40, generator=rng)], dim=1)
    chosen = choose_weight_decay((noisy, labels), (wide, truth), 3)
    weakest = choose_weight_decay((noisy, labels), (wide, truth), 3, WEIGHT_DECAYS[-1:])
    assert chosen.weight_decay > WEIGHT_DECAYS[-1]
    assert chosen.correct > weakest.correct
