"""The interface of losses: named raw terms of a batch, their weights, and what a loss needs of the networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from mcl.errors import UserError, did_you_mean
from mcl.types import Batch, Outputs


@dataclass(frozen=True)
class MetaSchedule:
    """When and how a loss learns its meta-parameters.

    Args:
        interval: training steps from one meta round to the next; the first step has one.
        steps: SGD steps on the inner objective before the one on the outer objective.
        lr: learning rate of these unrolled steps; None takes the current one of training.
        momentum: momentum of these unrolled steps, from a zero buffer.
        attach_features: let the inner objective differentiate the matching weights through the features too.
        outer_batch: batch of the outer objective: the ``same`` as the inner one, or the ``next`` of the epoch.
        memory: ``keep`` the graphs of the unrolled steps, or ``recompute`` them (less memory, more time).
    """

    interval: int = 50
    steps: int = 2
    lr: float | None = None
    momentum: float = 0.9
    attach_features: bool = True
    outer_batch: Literal["same", "next"] = "same"
    memory: Literal["keep", "recompute"] = "keep"

    def __post_init__(self) -> None:
        for name in ("interval", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"loss.meta.{name}={getattr(self, name)}: must be at least 1.")
        if self.lr is not None and self.lr < 0:
            raise UserError(f"loss.meta.lr={self.lr}: must not be negative.")


class Loss(nn.Module):
    """Base of all losses: ``loss(outputs, batch)`` gives named raw terms, ``loss.total(terms)`` their weighted sum.

    A subclass sets ``terms`` (the names it returns) and, where it needs them, ``needs_branches`` and
    ``minimum_networks``. A loss with something to meta-learn sets ``meta`` and has ``inner_objective``,
    ``outer_objective``, ``inner_parameters`` and ``meta_parameters``; training asks for nothing else.

    Args:
        weights: factor of each term in the sum. Terms left out count 1.
    """

    terms: ClassVar[tuple[str, ...]] = ("classification",)
    needs_branches: ClassVar[bool] = False
    minimum_networks: ClassVar[int] = 1
    training_state: ClassVar[tuple[str, ...]] = ()  # beginnings of the state-dict names that only training needs
    meta: MetaSchedule | None = None

    def __init__(self, weights: Mapping[str, float] | None = None):
        super().__init__()
        given = dict(weights or {})
        for name in given:
            if name not in self.terms:
                raise UserError(
                    f"loss.weights.{name}: {type(self).__name__} has no such term; it has {', '.join(self.terms)}."
                    + did_you_mean(name, self.terms)
                )
            if not 0 <= given[name] < float("inf"):
                raise UserError(f"loss.weights.{name}={given[name]}: must be a finite number, not negative.")
        self.weights = {name: float(given.get(name, 1.0)) for name in self.terms}

    def prepare(self, labels: Tensor) -> None:
        """Told once before training: the class (N,) of every training image, by its index."""

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        """The raw terms of one batch, scalars, by name."""
        raise NotImplementedError

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of raw terms: what is minimised."""
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()

    def aggregate(self, outputs: Sequence[Outputs]) -> list[Tensor] | None:
        """The aggregated logits of each network, N times (B, classes); None where a loss has no aggregators."""
        return None

    def matching_means(self) -> Tensor | None:
        """Mean over the last batch of learned matching weights between all G places (G, G), counted network by
        network, stage by stage; None where a loss learns none."""
        return None

    def static_buffers(self) -> set[str]:
        """Names of large buffers that no objective writes to, such as memory banks."""
        return set()

    # What a loss with meta-parameters has (``meta`` not None).

    def inner_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of the loss that the unrolled steps move along with the networks, by their name in the loss."""
        return {}

    def meta_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of the loss that the meta round learns and training leaves alone, by their name in the loss."""
        return {}

    def inner_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        """Scalar that the unrolled steps descend, differentiable in the meta-parameters."""
        raise NotImplementedError

    def outer_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        """Scalar that judges the networks after the unrolled steps."""
        raise NotImplementedError
