"""KDCL: one target for all networks, better than each of them (Guo et al., CVPR 2020)."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import ClassVar, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.losses.base import Weights
from mcl.losses.direction import learners
from mcl.losses.distillation import kl_divergence
from mcl.losses.forms import Form, FormLoss, last_logits
from mcl.losses.numerics import full_precision
from mcl.types import Batch, NetworkShape, Outputs

Target = Literal["naive", "linear", "min_logit", "general"]
_NEWTON_STEPS = 60


def target(logits: Tensor, labels: Tensor, form: Target, *, weights: Tensor | None = None) -> Tensor:
    """Return the logits (B, C) that all networks are drawn to, detached.

    - ``naive``: the logits of the network with the smallest cross-entropy, for each image.
    - ``linear``: the convex combination of the networks' logits with the smallest cross-entropy, for each image.
    - ``min_logit``: the smallest, over networks, of each logit minus the logit of the label.
    - ``general``: a combination with weights that are measured on held-out images (`general_weights`).

    Args:
        logits: (N, B, C).
        labels: (B,) classes.
        form: as above.
        weights: (N,) of ``general``; None: 1/N each.

    Raises:
        ValueError: There is no such form.
    """
    logits = full_precision(logits.detach())
    networks, images = logits.shape[:2]
    if form == "naive":
        best = _cross_entropy(logits, labels).argmin(0)  # (B,)
        return logits[best, torch.arange(images, device=logits.device)]
    if form == "linear":
        return torch.einsum("bn,nbc->bc", _best_mixture(logits, labels).to(logits), logits)
    if form == "min_logit":
        return (logits - logits.gather(-1, labels.expand(networks, images)[..., None])).amin(0)
    if form == "general":
        weights = logits.new_full((networks,), 1 / networks) if weights is None else weights.detach().to(logits)
        return torch.einsum("n,nbc->bc", weights, logits)
    raise ValueError(f"form={form!r}: must be one of {', '.join(get_args(Target))}.")


def general_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """Return weights (N,) of the networks that sum to 1, from the correlation of their errors.

    Args:
        logits: (N, M, C) of held-out images.
        labels: (M,) classes.

    Returns:
        The weights with the smallest squared error of the mixed probabilities; 1/N each if two networks are identical.
    """
    logits = full_precision(logits.detach())
    errors = (logits.softmax(-1) - F.one_hot(labels.long(), logits.shape[-1])).double()  # (N, M, C)
    products = torch.einsum("imc,jmc->ij", errors, errors) / errors.shape[1]
    # In units of each network's own error: a confident network beside others is not an identical one.
    scale = products.diagonal().sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    eigenvalues, vectors = torch.linalg.eigh(products / scale / scale[:, None])
    singular = eigenvalues[0] <= 1e-12 * eigenvalues[-1]
    weights = vectors @ (vectors.T @ (1 / scale) / eigenvalues) / scale
    uniform = torch.full_like(weights, 1 / len(weights))
    return torch.where(singular, uniform, weights / weights.sum()).to(logits)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each image: (..., B, C) to (..., B)."""
    return -logits.log_softmax(-1).gather(-1, labels.expand(logits.shape[:-1])[..., None])[..., 0]


def _best_mixture(logits: Tensor, labels: Tensor) -> Tensor:
    """Return weights (B, N) on the simplex that minimize the cross-entropy of the mixed logits, for each image.

    The minimum lies inside one of the faces of the simplex. On all faces at once, Newton's method finds the minimum of
    the plane through the face; the step log(1 + r) / r, with r the range of the change of the logits, makes
    it converge from the center (Bach 2010). The best result that lies in its face is the minimum.
    """
    z = (logits if logits.device.type == "mps" else logits.double()).movedim(0, 1)  # (B, N, C)
    networks = z.shape[1]
    if networks == 1:
        return z.new_ones(len(z), 1)
    z = z - z.gather(-1, labels.long()[:, None, None].expand(-1, networks, 1))  # the same cost, without canceling
    subsets = [face for size in range(2, networks + 1) for face in combinations(range(networks), size)]
    eye = torch.eye(networks, dtype=z.dtype, device=z.device)
    faces = torch.stack([torch.stack([eye[i] for i in face]).sum(0) for face in subsets])[:, None]  # (F, 1, N)
    mixture = (faces / faces.sum(-1, keepdim=True)).expand(-1, len(z), -1)  # (F, B, N), from the centers
    system = z.new_zeros(*mixture.shape[:2], networks + 1, networks + 1)  # of the step and the multiplier
    system[..., networks, :networks] = system[..., :networks, networks] = faces
    for _ in range(_NEWTON_STEPS):
        p = torch.einsum("fbn,bnc->fbc", mixture, z).softmax(-1)[..., None, :]  # (F, B, 1, C)
        gradient = (p * z).sum(-1)  # (F, B, N)
        centered = z - gradient[..., None]  # (F, B, N, C)
        curvature = (p * centered) @ centered.mT * faces[..., None] * faces[..., None, :]
        ridge = 1e-12 * curvature.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None] + 1e-30 + (1 - faces)
        system[..., :networks, :networks] = curvature + ridge.diag_embed()
        right = F.pad(-gradient * faces, (0, 1))
        step = torch.linalg.solve_ex(system, right).result[..., :networks].nan_to_num()
        change = torch.einsum("fbn,bnc->fbc", step, z)
        reach = (change.amax(-1) - change.amin(-1)).clamp_min(1e-30)[..., None]
        mixture = mixture + step * (reach.log1p() / reach)
    mixture = torch.cat([eye[:, None].expand(-1, len(z), -1), mixture])  # the corners too
    inside = (mixture >= 0).all(-1)
    cost = _cross_entropy(torch.einsum("fbn,bnc->fbc", mixture, z), labels).masked_fill(~inside, torch.inf)
    return mixture[cost.argmin(0), torch.arange(len(z), device=z.device)]


class KDCL(FormLoss):
    """Classification, and the divergence of each network from one target for all.

    Args:
        shapes: per network, its sizes; their number counts.
        weights: factor of each term; None: 1, and 0.5 each in the form ``mean``.
        form: how the target is made, as in `target`; or ``mean``: the mean logits, T = 4, as public code has it.
        temperature: T; None: that of the form.
        direction: ``mutual``: all networks are drawn to the target; ``one_way``: the first one alone.

    Raises:
        UserError: As in `FormLoss`, or there is no such ``direction``.
    """

    minimum_networks = 2
    separate_views = True
    forms: ClassVar[Mapping[str, Form]] = {
        **{name: Form(2.0) for name in get_args(Target)},
        "mean": Form(4.0, {"classification": 0.5, "distillation": 0.5}),
    }
    mixing: Tensor

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        form: str = "min_logit",
        temperature: float | None = None,
        direction: str = "mutual",
    ):
        super().__init__(shapes=shapes, weights=weights, form=form, temperature=temperature)
        self.learners = learners(direction)
        self.needs_held_out = form == "general"
        self.needs_single_labels = form in ("naive", "linear", "min_logit")
        self.register_buffer("mixing", torch.full((len(shapes),), 1 / len(shapes)), persistent=self.needs_held_out)

    def measure_held_out(self, logits: Tensor, labels: Tensor) -> None:
        self.mixing.copy_(general_weights(logits, labels))

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits = last_logits(outputs)
        form = cast("Target", "general" if self.form == "mean" else self.form)
        aim = target(logits, batch.labels, form, weights=self.mixing)
        term = kl_divergence(aim, logits[self.learners], temperature=self.temperature)
        return {"classification": self.classification(logits, batch), "distillation": term}
