"""Learning-rate schedules: pure functions of the epoch, so a resumed run has no state to restore."""

import math
from bisect import bisect_right
from collections.abc import Callable
from numbers import Real

from mcl.console import pluralize
from mcl.errors import UserError


class Cosine:
    """Decay by ``(1 + cos(pi * e / E)) / 2`` for epoch e of E (the CIFAR schedule of L-MCL), after a linear warm-up.

    Raises:
        UserError: ``warmup_epochs`` is negative.
    """

    def __init__(self, *, warmup_epochs: int = 0):
        self.warmup_epochs = _checked(warmup_epochs)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return the factor on the initial learning rate during ``epoch`` (from 0) of ``epochs``."""
        if epoch < self.warmup_epochs:
            return _warm_up(epoch, self.warmup_epochs)
        length = max(epochs - self.warmup_epochs, 1)
        return (1 + math.cos(math.pi * (epoch - self.warmup_epochs) / length)) / 2


class MultiStep:
    """Multiply by ``gamma`` at every milestone, after a linear warm-up.

    Raises:
        UserError: A milestone is below 1, ``gamma`` is not positive, or ``warmup_epochs`` is negative.
    """

    def __init__(self, *, milestones: list[int], gamma: float = 0.1, warmup_epochs: int = 0):
        if any(milestone < 1 for milestone in milestones):
            raise UserError(f"schedule.milestones={milestones}: every epoch must be at least 1.")
        if gamma <= 0:
            raise UserError(f"schedule.gamma={gamma}: must be greater than 0, such as 0.1.")
        self.milestones = sorted(milestones)
        self.gamma = gamma
        self.warmup_epochs = _checked(warmup_epochs)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return the factor on the initial learning rate during ``epoch`` (from 0) of ``epochs``."""
        return float(self.gamma ** bisect_right(self.milestones, epoch)) * _warm_up(epoch, self.warmup_epochs)


class Constant:
    """Keep the initial learning rate, after a linear warm-up.

    Raises:
        UserError: ``warmup_epochs`` is negative.
    """

    def __init__(self, *, warmup_epochs: int = 0):
        self.warmup_epochs = _checked(warmup_epochs)

    def __call__(self, epoch: int, epochs: int) -> float:
        """Return 1, and less during the warm-up."""
        return _warm_up(epoch, self.warmup_epochs)


def schedule_notes(schedule: Callable[[int, int], float], epochs: int) -> list[str]:
    """Return notes on a schedule that does not get to its end, or changes nothing, within a number of epochs.

    Raises:
        UserError: It fails, or a factor is not a finite number from 0.
    """
    factors = {_factor(schedule, epoch, epochs) for epoch in range(epochs)}
    length = pluralize(epochs, "epoch")
    notes = []
    if isinstance(schedule, Cosine | MultiStep | Constant) and epochs <= schedule.warmup_epochs:
        notes.append(
            f"schedule.warmup_epochs={schedule.warmup_epochs}: the warm-up does not end, as the run has {length}; the"
            f" learning rate gets to {100 * max(factors):.3g} % of optimizer.lr. Use fewer epochs of warm-up, or more"
            " trainer.epochs."
        )
    if isinstance(schedule, MultiStep):
        if late := [str(milestone) for milestone in schedule.milestones if milestone >= epochs]:
            notes.append(
                f"schedule.milestones={schedule.milestones}: the run has {length}, so the learning rate does not fall"
                f" at {', '.join(late)}. Lower schedule.milestones, or use schedule=cosine."
            )
    elif factors == {1.0} and not isinstance(schedule, Constant) and epochs > 1:
        notes.append(f"the schedule does not change the learning rate in {length}: use schedule=cosine.")
    return notes


def _factor(schedule: Callable[[int, int], float], epoch: int, epochs: int) -> float:
    """Return the factor of an epoch, checked: the schedule may be a class of the user's."""
    name = type(schedule).__name__
    try:
        factor = schedule(epoch, epochs)
    except Exception as error:
        raise UserError(
            f"schedule: {name} fails for epoch {epoch} of {epochs}: {error}. It is called as schedule(epoch, epochs)."
        ) from error
    if not isinstance(factor, Real) or not 0 <= factor < math.inf:
        raise UserError(
            f"schedule: {name} returns {factor} for epoch {epoch} of {epochs}, not a factor on the learning rate, which"
            " is a finite number, 0 or more."
        )
    return factor


def _warm_up(epoch: int, warmup_epochs: int) -> float:
    """Return the factor of a linear warm-up during an epoch, from 0; 1 after it."""
    return min(1.0, (epoch + 1) / (warmup_epochs + 1))


def _checked(warmup_epochs: int) -> int:
    if warmup_epochs < 0:
        raise UserError(f"schedule.warmup_epochs={warmup_epochs}: must not be negative.")
    return warmup_epochs
