"""Multiply-adds of a run, so that methods can be compared at equal cost on any machine."""

from dataclasses import dataclass
from typing import Any

from mcl.losses.base import Loss
from mcl.networks.cohort import Cohort
from mcl.networks.counting import FORWARD_AND_BACKWARD, multiply_adds, parameters

SECOND_ORDER = 6  # differentiating a gradient: twice forward and backward


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of convolutions and linear layers of the networks, branches included, for one image.

    What the loss computes (projection heads included) and evaluations are not counted, nor what
    ``loss.meta.memory=recompute`` computes again.

    Args:
        deployed: ``{"parameters", "multiply_adds"}`` of each backbone alone, by key, in a forward pass.
        step: forward and backward pass of all networks.
        meta_round: one meta round; 0 for a loss that has none.
        interval: steps from one meta round to the next.
    """

    deployed: dict[str, dict[str, int]]
    step: int
    meta_round: int
    interval: int

    @classmethod
    def of(cls, cohort: Cohort, loss: Loss, image: tuple[int, int, int]) -> "Cost":
        """Counted by shapes alone, for images of (channels, height, width)."""
        forward = sum(multiply_adds(network, image) for network in cohort)
        rounds, interval = 0, 1
        if loss.meta is not None:
            # Unrolled: the inner steps, the outer one, the outer objective where they arrive. Then back through them.
            rounds = (loss.meta.steps + 2) * FORWARD_AND_BACKWARD + (loss.meta.steps + 1) * SECOND_ORDER
            interval = loss.meta.interval
        deployed = {
            key: {"parameters": parameters(backbone), "multiply_adds": multiply_adds(backbone, image)}
            for key, backbone in zip(cohort.keys, cohort.backbones, strict=True)
        }
        return cls(deployed, FORWARD_AND_BACKWARD * forward, rounds * forward, interval)

    def as_dict(self, *, images: int, steps: int, batch_size: int) -> dict[str, Any]:
        """For summary.json: ``{"step", "meta_round", "total"}``.

        Args:
            images: training images seen.
            steps: training steps done.
            batch_size: images of a step, and of a meta round.
        """
        rounds = -(-steps // self.interval)
        total = images * self.step + rounds * batch_size * self.meta_round
        return {"step": self.step, "meta_round": self.meta_round, "total": total}
