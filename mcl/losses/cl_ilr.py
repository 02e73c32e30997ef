"""CL-ILR: collaborative learning with intermediate-level representation sharing (NeurIPS 2018, arXiv 1805.11761)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from mcl.gradient_rescaling import rescale_gradient
from mcl.losses.distillation import kl_divergence, mean_of_others
from mcl.losses.forms import SMOOTHING, Form, FormLoss, last_logits
from mcl.losses.ramps import Sigmoid
from mcl.types import Batch, Outputs

__all__ = ["CLILR", "divergence", "rescale_gradient"]


def divergence(logits: Tensor, *, temperature: float) -> Tensor:
    """Return 0.5 times the divergence of each network from the mean logits of the others, summed over networks.

    Args:
        logits: (N, B, C); detached as teachers.
        temperature: T; the factor T² is included.
    """
    return 0.5 * kl_divergence(mean_of_others(logits.detach()), logits, temperature=temperature)


class CLILR(FormLoss):
    """Classification, and the divergence of each network from the mean logits of the others.

    Where networks share stages (``pair.shared_stages``), each fork divides the gradient by its number of children.

    Args:
        shapes: unused; the networks need no modules.
        weights: factor of each term; None: 0.5 each.
        form: ``paper``; ``mcl_okd``, the same; or ``okddip_repo``: weights 1 with a ramp, T = 3, smoothed targets.
        temperature: T; None: that of the form.
        reproduce_official_bug: as in ``okddip_repo``, do not detach the targets.

    Raises:
        UserError: As in `FormLoss`.
    """

    minimum_networks = 2
    rescale_gradients = True
    forms: ClassVar[Mapping[str, Form]] = {
        "paper": Form(2.0, {"classification": 0.5, "distillation": 0.5}),
        "mcl_okd": Form(2.0, {"classification": 0.5, "distillation": 0.5}),
        "okddip_repo": Form(3.0, {"distillation": Sigmoid()}, SMOOTHING, has_bug=True),
    }

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits = last_logits(outputs)
        targets = mean_of_others(logits if self.reproduce_official_bug else logits.detach())
        term = kl_divergence(targets, logits, temperature=self.temperature, epsilon=self.epsilon)
        return {"classification": self.classification(logits, batch), "distillation": term}
