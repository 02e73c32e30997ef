"""Base class of MCL and L-MCL: their terms and options, and a projection head for each node."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from mcl.errors import UserError
from mcl.losses.base import Loss, Weights
from mcl.losses.direction import learners
from mcl.losses.heads import PerStage, ProjectionHead
from mcl.losses.ramps import Ramp


class MutualLoss(Loss):
    """Base of the losses that contrast networks with each other.

    Args:
        widths: per network, per stage, the width of the features to contrast.
        weights: factor of each term in the sum; ``default_weights``, else 1, for those left out.
        tau: temperature of the similarities.
        temperature: T, the softening of all distributions that networks exchange.
        dim: dimension of the embeddings.
        direction: ``mutual``: all networks learn from each other; ``one_way``: the first one alone from the others,
            which learn from the labels.
        head_weight_decay: weight decay of the projection heads; None: that of the networks.

    Raises:
        UserError: As in `Loss`, or there are too few networks, a number is not positive, or there is no such
            ``direction``, or ``head_weight_decay`` is negative.
    """

    terms = ("classification", "distillation", "vcl", "soft_vcl", "icl", "soft_icl")
    minimum_networks = 2
    capturable = True
    flexible_targets = True
    default_weights: ClassVar[Mapping[str, float | Ramp]] = {"vcl": 0.1, "soft_vcl": 1.0, "icl": 0.1, "soft_icl": 1.0}

    def __init__(
        self,
        widths: list[list[int]],
        weights: Weights | None,
        tau: float,
        temperature: float,
        dim: int,
        direction: str = "mutual",
        head_weight_decay: float | None = None,
    ):
        super().__init__(weights)
        if len(widths) < self.minimum_networks:
            raise UserError(
                f"{type(self).__name__} lets networks learn from each other and needs {self.minimum_networks} or more: "
                f"{len(widths)} given. Choose a pair (pair=), or a loss for single networks: loss=independent or "
                "loss=deep_supervision."
            )
        for name, value in (("tau", tau), ("temperature", temperature), ("dim", dim)):
            if value <= 0:
                raise UserError(f"loss.{name}={value}: must be greater than 0.")
        if head_weight_decay is not None and head_weight_decay < 0:
            raise UserError(f"loss.head_weight_decay={head_weight_decay}: must not be negative.")
        self.tau = tau
        self.temperature = temperature
        self.learners = learners(direction)
        self.heads = nn.ModuleList(PerStage(ProjectionHead(width, dim) for width in stages) for stages in widths)
        self.head_weight_decay = head_weight_decay

    def parameter_groups(self) -> list[dict[str, Any]]:
        if self.head_weight_decay is None:
            return []
        return [{"params": list(self.heads.parameters()), "weight_decay": self.head_weight_decay}]
