"""The interface of losses: unweighted terms by name, their weights, and the requirements on the networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mcl.errors import UserError, check_choice, did_you_mean
from mcl.losses.classification import classification
from mcl.losses.ramps import Ramp
from mcl.types import Batch, NetworkShape, Outputs

Weights = Mapping[str, float | Ramp | None]  # factor of each term, a number or a ramp; None: the default


@dataclass(frozen=True)
class MetaSchedule:
    """Schedule and settings of the meta rounds of a loss.

    Args:
        interval: training steps from one meta round to the next; the first step has one.
        steps: SGD steps on the inner objective, followed by one on the outer objective.
        lr: learning rate of these unrolled steps; None uses the current learning rate of training.
        momentum: SGD momentum of the unrolled steps; the buffer starts at zero.
        attach_features: let the inner objective differentiate the matching weights through the features too.
        outer_batch: batch of the outer objective: the ``same`` as the inner one, or the ``next`` of the epoch.
        memory: ``keep`` the graphs of the unrolled steps, or ``recompute`` them (less memory, more time).

    Raises:
        UserError: ``interval`` or ``steps`` is below 1, ``lr`` is negative, or there is no such ``outer_batch`` or
            ``memory``.
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
        check_choice("loss.meta.outer_batch", self.outer_batch, ("same", "next"))
        check_choice("loss.meta.memory", self.memory, ("keep", "recompute"))


class Loss(nn.Module):
    """Base of all losses: ``loss(outputs, batch)`` returns named raw terms, ``loss.total(terms)`` their weighted sum.

    A subclass sets ``terms`` (the names it returns) and, if needed, ``needs_branches`` and ``minimum_networks``. A loss
    with parameters to meta-learn sets ``meta`` and overrides the four methods at the end.

    Args:
        weights: factor of each term in the sum, a number or a ramp; ``default_weights``, else 1, for those left out.

    Attributes:
        weights: the factors of the current epoch.
        ramps: the ramps of the terms that have one.
        label_smoothing: of `classification`.
        class_weights: (C,) of `classification`, or None.

    Raises:
        UserError: A weight is not finite, is negative, or belongs to no term.
    """

    terms: ClassVar[tuple[str, ...]] = ("classification",)
    default_weights: ClassVar[Mapping[str, float | Ramp]] = {}
    needs_branches: ClassVar[bool] = False
    needs_maps: ClassVar[bool] = False  # the feature maps of all stages of the backbones: `Outputs.maps`
    needs_ema: ClassVar[bool] = False  # averaged networks as teachers: ``loss(outputs, batch, teachers=...)``
    separate_views: bool = False  # an augmented view of its own for each network, unless ``trainer.views`` differs
    rescale_gradients: ClassVar[bool] = False  # divide the gradient at each fork of shared stages by its children
    minimum_networks: ClassVar[int] = 1
    # Whether a step may be recorded and replayed (``trainer.capture``): ``forward`` reads, apart from its arguments,
    # only parameters, buffers, ``weights``, and numbers and flags that are attributes of the loss.
    capturable: ClassVar[bool] = False
    # Whether the labels are compared with logits in ``self.classification`` alone, which knows of smoothed labels,
    # class weights and mixed images.
    flexible_targets: ClassVar[bool] = False
    needs_single_labels: bool = False  # the loss reads the labels elsewhere too, where an image must have one only
    needs_held_out: bool = False  # the logits of held-out images before each epoch but the first: `measure_held_out`
    training_state: ClassVar[tuple[str, ...]] = ()  # prefixes of state-dict keys that only training needs
    meta: MetaSchedule | None = None
    class_weights: Tensor | None

    def __init__(self, weights: Weights | None = None):
        super().__init__()
        for name, weight in (weights or {}).items():
            if name not in self.terms:
                raise UserError(
                    f"loss.weights.{name}: {type(self).__name__} has no such term; it has {', '.join(self.terms)}."
                    + did_you_mean(name, self.terms)
                )
            if isinstance(weight, int | float) and not 0 <= weight < float("inf"):
                raise UserError(f"loss.weights.{name}={weight}: must be a finite number, not negative.")
        given = {name: weight for name, weight in (weights or {}).items() if weight is not None}
        factors = dict.fromkeys(self.terms, 1.0) | dict(self.default_weights) | given
        self.ramps = {name: factor for name, factor in factors.items() if isinstance(factor, Ramp)}
        self.weights = {name: 0.0 if isinstance(factor, Ramp) else float(factor) for name, factor in factors.items()}
        self.label_smoothing = 0.0
        self.register_buffer("class_weights", None, persistent=False)
        self.set_epoch(0)

    def classification(self, logits: Sequence[Tensor] | Tensor, batch: Batch) -> Tensor:
        """Return the sum over classifiers of their mean cross-entropy; ``logits`` as in `mcl.losses.classification`."""
        return classification(
            logits, batch.labels, mixed=batch.mixed, smoothing=self.label_smoothing, weights=self.class_weights
        )

    def set_epoch(self, epoch: int) -> None:
        """Set the factors of the terms that have a ramp. Called before every epoch, counted from 0."""
        self.weights |= {name: ramp(epoch) for name, ramp in self.ramps.items()}

    def unfinished_ramps(self, epochs: int) -> list[str]:
        """Return a note on the ramps that do not reach their weights in a number of epochs, if there are any."""
        unfinished = {name: ramp for name, ramp in self.ramps.items() if ramp(epochs - 1) < ramp.weight}
        if not unfinished:
            return []
        name, ramp = next(iter(unfinished.items()))
        options = " and ".join(f"loss.weights.{each}" for each in unfinished)
        return [
            f"{options}: the run has {epochs} epochs, and the ramp ends at epoch {ramp.length}; it gets to"
            f" {ramp(epochs - 1):.2g}. A shorter one: 'loss.weights.{name}={{_target_: {type(ramp).__module__}."
            f"{type(ramp).__name__}, weight: {ramp.weight:g}, length: {max(1, epochs // 4)}}}'."
        ]

    def prepare(self, labels: Tensor) -> None:
        """Prepare for training with the labels (N,) of all training images. Called once, before the first step."""

    def notes(self, counts: Sequence[int], positives: float | None) -> list[str]:
        """Return notes for the user on how this loss and the batches fit together.

        Args:
            counts: training images of each class.
            positives: other images of its class that an image finds in a batch, on average; None if unknown.
        """
        return []

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        """Return the raw terms of a batch, scalars by name."""
        raise NotImplementedError

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of raw terms, which training minimizes."""
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()

    def ensemble(self, outputs: Sequence[Outputs]) -> Tensor | None:
        """Return the logits (B, C) of an ensemble that the loss trains, or None for the mean of the networks."""
        return None

    def measure_held_out(self, logits: Tensor, labels: Tensor) -> None:
        """Take in the logits (N, M, C) of the validation split and its labels (M,), if ``needs_held_out``."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return groups of the loss's parameters with the optimizer's options in which they differ from the others.

        A learning rate of their own, ``lr``, follows the schedule like that of the others.
        """
        return []

    def decay(self, step: int) -> float:
        """Return the decay of the averaged networks after a step, counted from 0, if ``needs_ema``."""
        return running_decay(step)

    def paused(self) -> Tensor | None:
        """Return which networks the step after the last forward pass leaves as they are, (N,) bool, or None.

        Their parameters, momentum and decay do not move. All processes must return the same.
        """
        return None

    def deployed(self, shapes: Sequence[NetworkShape]) -> list[int] | None:
        """Return the positions of the networks that are deployed and reported first; None for all."""
        return None

    def aggregate(self, outputs: Sequence[Outputs]) -> list[Tensor] | None:
        """Return the aggregated logits (B, C) of each network, or None for a loss without aggregators."""
        return None

    def matching_means(self) -> Tensor | None:
        """Return the learned matching weights (G, G) between all nodes, averaged over the last batch, or None."""
        return None

    def static_buffers(self) -> set[str]:
        """Return the names of large buffers that no objective writes to, such as memory banks."""
        return set()

    # A loss that sets ``meta`` overrides the following four methods.

    def inner_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the loss that the unrolled steps update along with the networks."""
        return {}

    def meta_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the loss that the meta round learns and training leaves alone."""
        return {}

    def inner_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        """Return the scalar that the unrolled steps descend, differentiable in the meta-parameters."""
        raise NotImplementedError

    def outer_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        """Return the scalar that judges the networks after the unrolled steps."""
        raise NotImplementedError


def running_decay(step: int, decay: float = 0.999) -> float:
    """Return the decay of an average after a step, counted from 0: a plain mean of all steps until it is ``decay``."""
    return min(1 - 1 / (step + 1), decay)


def stage_logits(outputs: Sequence[Outputs]) -> list[Tensor]:
    """Return the logits of all stages, network by network."""
    return [logits for network in outputs for logits in network.logits]
