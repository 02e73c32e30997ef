"""Ramps: the factor of a term of a loss as a function of the epoch."""

import math
from dataclasses import dataclass

from mcl.errors import UserError


def sigmoid_ramp(epoch: float, length: float) -> float:
    """Return exp(-5 (1 - min(max(epoch, 0), length) / length)²), and 1 if ``length`` is 0."""
    if length == 0:
        return 1.0
    return math.exp(-5 * (1 - min(max(epoch, 0), length) / length) ** 2)


@dataclass(frozen=True)
class Ramp:
    """Base of the ramps: ``ramp(epoch)`` is the factor in an epoch, counted from 0.

    Args:
        weight: the factor at the end of the ramp.
        length: epochs until then; 0: the weight from the start.

    Raises:
        UserError: ``weight`` is negative or not finite, or ``length`` is negative.
    """

    weight: float = 1.0
    length: int = 80

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise UserError(f"{type(self).__name__}.weight={self.weight}: must be a finite number, not negative.")
        if self.length < 0:
            raise UserError(f"{type(self).__name__}.length={self.length}: must not be negative.")

    def __call__(self, epoch: int) -> float:
        raise NotImplementedError


class Sigmoid(Ramp):
    """Grow as `sigmoid_ramp`: from 0.0067 of the weight at epoch 0 to the weight at epoch ``length``."""

    def __call__(self, epoch: int) -> float:
        return self.weight * sigmoid_ramp(epoch, self.length)


class Linear(Ramp):
    """Grow linearly from 0 at epoch 0 to the weight at epoch ``length``."""

    def __call__(self, epoch: int) -> float:
        return self.weight * (min(max(epoch, 0) / self.length, 1.0) if self.length else 1.0)


class Step(Ramp):
    """Be 0 before epoch ``length``, and the weight from then on."""

    def __call__(self, epoch: int) -> float:
        return self.weight if epoch >= self.length else 0.0


@dataclass(frozen=True)
class Constant(Ramp):
    """Be the weight in every epoch."""

    length: int = 0

    def __call__(self, epoch: int) -> float:
        return self.weight
