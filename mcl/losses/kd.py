"""KD: offline distillation from a frozen teacher (Hinton et al. 2015, arXiv 1503.02531)."""

from torch import Tensor

from mcl.losses.distillation import kl_divergence


def distillation(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return T² KL(softmax(teacher / T) ‖ softmax(student / T)), averaged over the batch.

    Args:
        student: logits (B, C).
        teacher: logits (B, C); detached here.
        temperature: T.
    """
    return kl_divergence(teacher.detach(), student, temperature=temperature)
