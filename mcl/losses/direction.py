"""``loss.direction``: whether all networks learn from each other, or the first one alone from the others."""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from mcl.errors import check_choice

Direction = Literal["mutual", "one_way"]


def learners(direction: str) -> slice:
    """Return which networks learn from others: all, or the first alone.

    Raises:
        UserError: there is no such direction.
    """
    check_choice("loss.direction", direction, get_args(Direction))
    return slice(None) if direction == "mutual" else slice(1)


def detach_teachers(features: Sequence[Sequence[Tensor]], learning: slice) -> list[list[Tensor]]:
    """Detach the features of the networks that only teach; the others pass unchanged.

    Args:
        features: list over networks of lists over stages of (B, width).
        learning: as `learners` returns it.
    """
    learn = range(len(features))[learning]
    return [list(each) if i in learn else [stage.detach() for stage in each] for i, each in enumerate(features)]
