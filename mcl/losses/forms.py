"""Base of the losses of other methods: the forms in which a method is published, and the logits that networks exchange.

A form is the method as its paper has it, or as a body of code has it that published numbers come from. Bugs of
official codes are reproduced only by ``loss.reproduce_official_bug=true``.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mcl.errors import UserError, unknown
from mcl.losses.base import Loss, Weights
from mcl.losses.ramps import Ramp
from mcl.types import NetworkShape, Outputs

SMOOTHING = 1e-7  # that official codes add to the probabilities of teachers


class Form(NamedTuple):
    """The settings of one form of a method.

    Args:
        temperature: T of the divergences; None if the form has none.
        weights: factors of the terms, where they are not 1.
        epsilon: added to the probabilities of teachers.
        has_bug: ``loss.reproduce_official_bug`` changes something in this form.
    """

    temperature: float | None = 1.0
    weights: Mapping[str, float | Ramp] = {}
    epsilon: float = 0.0
    has_bug: bool = False


class FormLoss(Loss):
    """Base of the losses that come in several forms.

    Args:
        shapes: per network, its sizes, for the modules of a subclass.
        weights: factor of each term, a number or a ramp; None: that of the form.
        form: name of the form.
        temperature: T; None: that of the form.
        reproduce_official_bug: compute what the official code of the form computes by mistake.

    Raises:
        UserError: There is no such form, it has no temperature or no bug, or a number is out of its range.
    """

    terms: ClassVar[tuple[str, ...]] = ("classification", "distillation")
    forms: ClassVar[Mapping[str, Form]] = {}
    capturable = True
    flexible_targets = True

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        form: str = "paper",
        temperature: float | None = None,
        reproduce_official_bug: bool = False,
    ):
        if form not in self.forms:
            raise unknown("form", f"loss.form={form}", self.forms)
        settings = self.forms[form]
        given = {name: weight for name, weight in (weights or {}).items() if weight is not None}
        super().__init__({**settings.weights, **given})
        if temperature is not None and settings.temperature is None:
            raise UserError(f"loss.temperature={temperature}: loss.form={form} has no temperature. Leave it null.")
        if temperature is not None and temperature <= 0:
            raise UserError(f"loss.temperature={temperature}: must be greater than 0.")
        if reproduce_official_bug and not settings.has_bug:
            with_bug = [name for name, each in self.forms.items() if each.has_bug]
            raise UserError(
                f"loss.reproduce_official_bug=true: loss.form={form} has no bug to reproduce."
                f" Choose loss.form={' or loss.form='.join(with_bug)}, or leave it false."
            )
        self.form = form
        self.temperature = temperature or settings.temperature or 1.0
        self.epsilon = settings.epsilon
        self.reproduce_official_bug = reproduce_official_bug


def last_logits(outputs: Sequence[Outputs]) -> Tensor:
    """Return the logits of the networks' backbones, (N, B, C)."""
    return torch.stack([network.logits[-1] for network in outputs])
