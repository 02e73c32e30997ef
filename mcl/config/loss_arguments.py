"""The sizes of the networks, as the constructor of a loss takes them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mcl.config.signatures import signature_of

if TYPE_CHECKING:  # it imports torch
    from mcl.types import NetworkShape

WIDTHS, SHAPES = "widths", "shapes"


def loss_arguments(
    loss: Callable[..., Any], widths: list[list[int]], shapes: Callable[[], Sequence["NetworkShape"]]
) -> dict[str, Any]:
    """Return the arguments that training gives a loss: ``widths``, ``shapes`` or both, as its constructor asks.

    Args:
        loss: the class.
        widths: per network, per stage, the width of its features.
        shapes: returns the shapes of the networks; called only if the loss takes them.
    """
    parameters = signature_of(loss).parameters
    sizes: dict[str, Any] = {}
    if SHAPES in parameters:
        sizes[SHAPES] = list(shapes())
    if WIDTHS in parameters or not sizes or any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        sizes[WIDTHS] = widths
    return sizes
