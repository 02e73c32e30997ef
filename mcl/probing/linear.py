"""The linear probe: multinomial logistic regression on frozen features, with weight decay."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHT_DECAYS = tuple(10.0**exponent for exponent in range(1, -7, -1))  # from strong to weak
MAX_ITERATIONS = 200  # of L-BFGS, for each weight decay
GRADIENT = 1e-7  # its largest entry at the minimum: under weak weight decay, it is below 1e-5 long before


class LinearClassifier(NamedTuple):
    """A classifier of standardized features."""

    mean: Tensor  # (d,)
    scale: Tensor  # (d,), the reciprocal deviation; 1 for a feature that is constant
    weight: Tensor  # (classes, d)
    bias: Tensor  # (classes,)

    def predict(self, features: Tensor) -> Tensor:
        """Return the labels (N,) of features (N, d)."""
        logits: Tensor = F.linear((features - self.mean) * self.scale, self.weight, self.bias)
        return logits.argmax(1)


class ChosenWeightDecay(NamedTuple):
    """The weight decay with the best accuracy on the validation images."""

    weight_decay: float
    correct: int  # images for validation that its classifier classified correctly


def is_extreme(weight_decay: float) -> bool:
    """Return whether it is the first or the last of those tried, so that a better one may lie beyond."""
    return weight_decay in (WEIGHT_DECAYS[0], WEIGHT_DECAYS[-1])


def fit(
    features: Tensor, labels: Tensor, classes: int, weight_decay: float, start: LinearClassifier | None = None
) -> LinearClassifier:
    """Minimize the mean cross-entropy plus ``weight_decay / 2`` times the squared norm of the weights, by L-BFGS.

    Features are standardized by their own mean and deviation; the bias does not decay. The problem is convex, so
    ``start`` and the number of threads change the result by rounding only.

    Args:
        features: (N, d).
        labels: (N,), from 0 to ``classes - 1``.
        classes: C.
        weight_decay: at least 0.
        start: where to start from; None for zero.
    """
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    scale = torch.where(deviation > 0, 1 / deviation, 1.0)
    inputs = (features - mean) * scale
    if start is None:
        weight, bias = inputs.new_zeros(classes, inputs.shape[1]), inputs.new_zeros(classes)
    else:
        weight, bias = start.weight.clone(), start.bias.clone()
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=MAX_ITERATIONS, tolerance_grad=GRADIENT, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(inputs, weight, bias), labels) + weight_decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
    return LinearClassifier(mean, scale, weight.detach(), bias.detach())


def choose_weight_decay(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    classes: int,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
) -> ChosenWeightDecay:
    """Choose the weight decay with the best accuracy on the validation images; of equal ones, the strongest.

    Args:
        train: features (N, d) and labels (N,) to fit.
        validation: features and labels to choose by.
        classes: C.
        weight_decays: from strong to weak, each started from the one before.
    """
    classifier, best = None, None
    for weight_decay in weight_decays:
        classifier = fit(*train, classes, weight_decay, classifier)
        correct = int((classifier.predict(validation[0]) == validation[1]).sum())
        if best is None or correct > best.correct:
            best = ChosenWeightDecay(weight_decay, correct)
    assert best is not None, "no weight decay to try"
    return best
