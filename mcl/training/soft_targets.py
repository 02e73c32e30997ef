"""Give a loss the targets of its classification: smoothed labels, class weights, mixed images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mcl.data.dataset import DataSpec
from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.training.options import TrainerOptions


def set_targets(loss: Loss, options: TrainerOptions, spec: DataSpec) -> None:
    """Set the label smoothing and the class weights of a loss.

    Raises:
        UserError: The loss cannot take these options, or the weights do not fit the classes.
    """
    name = type(loss).__name__
    chosen = {
        "label_smoothing": options.label_smoothing,
        "class_weights": options.class_weights,
        "mixup": options.mixing.mixup,
        "cutmix": options.mixing.cutmix,
    }
    for option, value in chosen.items():
        if not value:
            continue
        if not loss.flexible_targets:
            raise UserError(
                f"trainer.{option}={value}: loss {name} does not declare that it can do that. Call"
                " self.classification(logits, batch) in its forward, and set flexible_targets = True (docs/extend.md)."
            )
        if loss.needs_single_labels and option in ("mixup", "cutmix"):
            raise UserError(
                f"trainer.{option}={value}: mixed images have two labels, and loss {name} in this form compares"
                f" networks by one. Use trainer.{option}=0, or another loss or loss.form."
            )
    loss.label_smoothing = options.label_smoothing
    if options.class_weights is not None:
        loss.class_weights = class_weights(options.class_weights, spec.counts)


def class_weights(given: str | Sequence[float], counts: Sequence[int]) -> Tensor:
    """Return (C,) float32, the factor of each class.

    Args:
        given: ``balanced``, or a factor for each class.
        counts: training images of each class. The balanced factors have the mean 1 over all images.

    Raises:
        UserError: There is not one factor for each class, or one is negative, or all are 0.
    """
    if isinstance(given, str):
        equal = sum(counts) / sum(count > 0 for count in counts)
        return torch.tensor([equal / count if count else 0.0 for count in counts], dtype=torch.float32)
    if len(given) != len(counts) or min(given) < 0 or max(given) == 0:
        raise UserError(
            f"trainer.class_weights={list(given)}: give {len(counts)} numbers, one for each class, none of them"
            " negative and not all 0; or trainer.class_weights=balanced."
        )
    return torch.tensor(list(given), dtype=torch.float32)
