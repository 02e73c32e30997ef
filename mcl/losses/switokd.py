"""SwitOKD: switchable online distillation; a teacher too far ahead pauses (ECCV 2022, arXiv 2209.04996)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mcl import distributed
from mcl.errors import UserError
from mcl.losses.base import Weights
from mcl.losses.distillation import kl_divergence
from mcl.losses.forms import Form, FormLoss, last_logits
from mcl.losses.numerics import full_precision
from mcl.types import Batch, NetworkShape, Outputs


class Switch(NamedTuple):
    """The state of the switch for one batch, scalars without gradient."""

    gap: Tensor  # mean distance between the predictions of teacher and student
    epsilon: Tensor
    delta: Tensor  # threshold on the gap
    paused: Tensor  # bool: the teacher pauses


def distances(teacher: Tensor, student: Tensor, labels: Tensor, *, whole: int | None = None) -> Tensor:
    """Return (3,): the distance of the teacher and of the student from the labels, and from each other.

    A distance is the sum over classes of the absolute difference of probabilities, averaged over the batch.

    Args:
        teacher, student: logits (B, C).
        labels: (B,) classes.
        whole: images of the batch over all processes; None: B in each.
    """
    with torch.no_grad():
        t, s = full_precision(teacher).softmax(-1), full_precision(student).softmax(-1)
        y = (labels[:, None] == torch.arange(t.shape[-1], device=labels.device)).to(t)  # one_hot reads the labels
        means = torch.stack([(a - b).abs().sum(-1).mean() for a, b in ((t, y), (s, y), (t, s))])
        return distributed.all_reduce_mean([means], distributed.weight(whole))[0]


def decide(means: Tensor, epsilon: Tensor | None = None) -> Switch:
    """Return the switch for the `distances` (3,) of a pair; ``epsilon`` replaces that of the pair itself."""
    teacher, student, gap = means.unbind()
    if epsilon is None:
        epsilon = (-teacher / (teacher + student)).exp()
    delta = student - epsilon * teacher
    return Switch(gap, epsilon, delta, (gap > delta) & (teacher < student))


def switch(teacher: Tensor, student: Tensor, labels: Tensor) -> Switch:
    """Return whether the teacher pauses on this batch: it is nearer to the labels, and the gap exceeds the threshold.

    Args:
        teacher, student: logits (B, C).
        labels: (B,) classes.
    """
    return decide(distances(teacher, student, labels))


class SwitOKD(FormLoss):
    """Teachers and students learn from each other; a teacher learns from a student only while it does not pause.

    Every network minimizes its cross-entropy and its divergences from all others. A teacher drops what it learns from a
    student while it pauses for that student, and does not move at all while it pauses for all of them.

    Args:
        shapes: per network, its sizes; the teachers come first.
        weights: factor of each term; None: 1.
        teachers: number of teachers; the other networks are students.
        temperature: T of the divergences, with the factor T²; the switch has T = 1.
        reproduce_official_bug: with three networks, one pair takes epsilon from the other, and a teacher of two
            students never stops entirely.

    Raises:
        UserError: As in `FormLoss`, or there would be no teacher or no student, or ``reproduce_official_bug`` is set
            and there are not three networks.
    """

    minimum_networks = 2
    needs_single_labels = True  # of the distances that the switch compares
    forms: ClassVar[Mapping[str, Form]] = {"paper": Form(1.0, has_bug=True)}

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        teachers: int = 1,
        temperature: float = 1.0,
        reproduce_official_bug: bool = False,
    ):
        super().__init__(
            shapes=shapes, weights=weights, temperature=temperature, reproduce_official_bug=reproduce_official_bug
        )
        if not 1 <= teachers < len(shapes):
            raise UserError(
                f"loss.teachers={teachers}: of {len(shapes)} networks, 1 to {len(shapes) - 1} can be teachers."
            )
        if reproduce_official_bug and len(shapes) != 3:
            raise UserError(
                f"loss.reproduce_official_bug=true: the bug is that of three networks, and the pair has {len(shapes)}."
            )
        self.teachers = teachers
        self._paused: Tensor | None = None

    def deployed(self, shapes: Sequence[NetworkShape]) -> list[int]:
        return [*range(self.teachers, len(shapes)), *range(self.teachers)]

    def paused(self) -> Tensor | None:
        return self._paused

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits = last_logits(outputs)
        networks, teachers = len(logits), self.teachers
        learns = logits.new_ones(networks, networks)  # row: network, column: from which other one
        for i, row in enumerate(self.switches(logits, batch)):
            learns[i, teachers:] = torch.stack([~switch.paused for switch in row]).to(logits)
        active = learns[:, teachers:].amax(1)  # (N,)
        learns[:teachers, :teachers] *= active[:teachers, None]
        never_stops = self.reproduce_official_bug and teachers == 1
        self._paused = torch.zeros_like(active).bool() if never_stops else active == 0
        classification = torch.stack([self.classification([each], batch) for each in logits])
        divergences = [
            learns[i, j] * kl_divergence(logits[j].detach(), logits[i], temperature=self.temperature)
            for i in range(networks)
            for j in range(networks)
            if i != j
        ]
        return {"classification": (active * classification).sum(), "distillation": torch.stack(divergences).sum()}

    def switches(self, logits: Tensor, batch: Batch) -> list[list[Switch]]:
        """Return the switch of each teacher with each student."""
        students = logits[self.teachers :]
        pairs = [[distances(t, s, batch.labels, whole=batch.whole) for s in students] for t in logits[: self.teachers]]
        switches = [[decide(each) for each in row] for row in pairs]
        if self.reproduce_official_bug:
            i, j, epsilon = (1, 0, switches[0][0]) if self.teachers == 2 else (0, 0, switches[0][1])
            switches[i][j] = decide(pairs[i][j], epsilon.epsilon)
        return switches
