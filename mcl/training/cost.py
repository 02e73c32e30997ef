"""Count the multiply-adds of a run, to compare methods at equal cost on any machine."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from mcl.losses.base import Loss
from mcl.networks.branches import Network
from mcl.networks.cohort import Cohort
from mcl.networks.counting import FORWARD_AND_BACKWARD, multiply_adds, parameters

SECOND_ORDER = 6  # differentiating a gradient: twice forward and backward


@dataclass(frozen=True)
class Cost:
    """Multiply-adds per image in convolutions and linear layers of the networks, branches included.

    The loss with its heads, evaluations, and recomputation by ``loss.meta.memory=recompute`` are not counted.

    Args:
        deployed: ``{"parameters", "multiply_adds"}`` of the forward pass of each backbone alone, by key.
        step: forward and backward pass of all networks; of frozen parts and averaged teachers the forward pass.
        meta_round: one meta round; 0 if the loss has none.
        interval: steps between meta rounds.
        training_parameters: of all networks and of the loss; what several networks share counts once.
    """

    deployed: dict[str, dict[str, int]]
    step: int
    meta_round: int
    interval: int
    training_parameters: int

    @classmethod
    def of(
        cls, cohort: Cohort, loss: Loss, image: tuple[int, int, int], *, views: int = 1, twice: bool = False
    ) -> "Cost":
        """Count from shapes alone, for images of (channels, height, width), as many views of each as training makes.

        What networks share counts once for each view. Frozen networks and stages, and averaged teachers, have no
        backward pass. With ``twice``, a step has a second forward pass of the networks.
        """
        forward = multiply_adds(cohort, image, views)
        frozen = sum(_frozen_multiply_adds(network, image) for network in cohort)
        step = FORWARD_AND_BACKWARD * (forward - frozen) + frozen + forward * (loss.needs_ema + twice)
        meta_round, interval = 0, 1
        if loss.meta is not None:
            # Forward: the inner steps, the outer step and the outer objective. Backward: through all steps.
            evaluations = loss.meta.steps + 2
            passes = evaluations * FORWARD_AND_BACKWARD + (loss.meta.steps + 1) * SECOND_ORDER
            meta_round = passes * (forward - frozen) + evaluations * frozen
            interval = loss.meta.interval
        deployed = {
            key: {"parameters": parameters(network.backbone), "multiply_adds": multiply_adds(network.backbone, image)}
            for key, network in cohort.items()
        }
        training = parameters(nn.ModuleList([cohort, loss]))
        return cls(deployed, step, meta_round, interval, training)

    def as_dict(self, *, images: int, steps: int, batch_size: int) -> dict[str, Any]:
        """Return ``{"step", "meta_round", "total"}`` for summary.json, after a number of images and steps."""
        rounds = -(-steps // self.interval)
        total = images * self.step + rounds * batch_size * self.meta_round
        return {"step": self.step, "meta_round": self.meta_round, "total": total}


def _frozen_multiply_adds(network: Network, image: tuple[int, int, int]) -> int:
    """Return the multiply-adds of the parts of a network that are never trained."""
    parts = network.frozen_modules()
    return multiply_adds(parts[0] if len(parts) == 1 else nn.Sequential(*parts), image) if parts else 0
