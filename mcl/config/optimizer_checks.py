"""Check the options of the group ``optimizer`` that its class does not know, without torch."""

from collections.abc import Mapping
from typing import Any

from mcl.errors import UserError
from mcl.runs.fine_tuning import HEAD_LR_FACTOR, LAYER_DECAY


def check_fine_tuning(optimizer: Any) -> None:
    """Raise UserError if a factor on the learning rate of a part of the networks is no such number.

    Args:
        optimizer: the group as plain data.
    """
    if not isinstance(optimizer, Mapping):
        return
    for name, highest in ((HEAD_LR_FACTOR, float("inf")), (LAYER_DECAY, 1.0)):
        value = optimizer.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= highest:
            most = f" and at most {highest:g}" if highest < float("inf") else ""
            raise UserError(f"optimizer.{name}={value}: expected a number above 0{most}; 1 changes nothing.")
