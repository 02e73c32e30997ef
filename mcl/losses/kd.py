"""KD: offline distillation from a frozen teacher (Hinton et al. 2015, arXiv 1503.02531)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from mcl.errors import UserError
from mcl.losses.base import Weights
from mcl.losses.distillation import kl_divergence
from mcl.losses.forms import Form, FormLoss
from mcl.types import Batch, NetworkShape, Outputs


def distillation(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return T² KL(softmax(teacher / T) ‖ softmax(student / T)), averaged over the batch.

    Args:
        student: logits (B, C).
        teacher: logits (B, C); detached here.
        temperature: T.
    """
    return kl_divergence(teacher.detach(), student, temperature=temperature)


class KD(FormLoss):
    """Classification of the students, and their divergence from the frozen teacher.

    Args:
        shapes: per network, its sizes; one network is frozen, the teacher.
        weights: factor of each term; None: that of the form.
        form: ``cifar``: T = 4, weights 0.1 and 0.9; ``imagenet``: T = 1, 0.5 each.
        temperature: T; None: that of the form.

    Raises:
        UserError: As in `FormLoss`, or not exactly one network is frozen.
    """

    minimum_networks = 2
    forms: ClassVar[Mapping[str, Form]] = {
        "cifar": Form(4.0, {"classification": 0.1, "distillation": 0.9}),
        "imagenet": Form(1.0, {"classification": 0.5, "distillation": 0.5}),
    }

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        form: str = "cifar",
        temperature: float | None = None,
    ):
        super().__init__(shapes=shapes, weights=weights, form=form, temperature=temperature)
        teachers = [i for i, shape in enumerate(shapes) if shape.frozen]
        if len(teachers) != 1:
            raise UserError(
                f"loss=kd needs one frozen network, its teacher; {len(teachers)} of {len(shapes)} are frozen."
                " Give pair.second.frozen=true 'init_from={second: RUN}', a run folder or an exported file."
            )
        (self.teacher,) = teachers

    def deployed(self, shapes: Sequence[NetworkShape]) -> list[int]:
        return [i for i in range(len(shapes)) if i != self.teacher]

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits = [network.logits[-1] for network in outputs]
        teacher = logits.pop(self.teacher)
        terms = [distillation(student, teacher, temperature=self.temperature) for student in logits]
        return {"classification": self.classification(logits, batch), "distillation": sum(terms[1:], terms[0])}
