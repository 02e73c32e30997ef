"""Paused networks stay where they are during a step (SwitOKD)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.networks.backbone import Backbone, Head
from mcl.networks.cohort import Cohort
from mcl.training.learner import Learner
from mcl.training.pausing import keep_paused
from mcl.training.train_step import TrainStep
from mcl.types import Batch, Outputs

GOLDEN = {
    name: torch.from_numpy(array)
    for name, array in np.load(Path(__file__).parent.parent / "golden" / "peers" / "switokd.npz").items()
    if name.startswith("trajectory.")
}


class Dense(Backbone):
    """Linear, batch normalization, ReLU, linear, on images of one pixel."""

    def __init__(self, width: int, classes: int, inputs: int = 6):
        stage = nn.Sequential(nn.Conv2d(inputs, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        head = Head(width, classes)
        super().__init__(
            name=f"dense{width}", stem=nn.Identity(), stages=[stage], head=head, in_channels=inputs, stride=1
        )


class Switched(Loss):
    """Mutual distillation of a teacher and a student with given switches."""

    terms = ("total",)

    def __init__(self, pauses: Sequence[bool]):
        super().__init__()
        self.pauses = iter(pauses)
        self.now = torch.tensor([False, False])

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        self.now = torch.tensor([next(self.pauses), False])
        teacher, student = (network.logits[-1] for network in outputs)
        total = cross_entropy(student, batch.labels) + distil(teacher, student)
        taught = cross_entropy(teacher, batch.labels) + distil(student, teacher)
        return {"total": total + torch.where(self.now[0], torch.zeros_like(taught), taught)}

    def paused(self) -> Tensor:
        return self.now


def distil(teacher: Tensor, student: Tensor) -> Tensor:
    target = teacher.detach().log_softmax(-1)
    return kl_div(student.log_softmax(-1), target, log_target=True, reduction="batchmean")


def test_paused_teacher_trains_as_published() -> None:
    sizes = {key: GOLDEN[f"trajectory.bn_mean.{key}"].numel() for key in ("teacher", "student")}
    flat = {key: GOLDEN[f"trajectory.start.{key}"] for key in sizes}
    classes = (flat["student"].numel() - 9 * sizes["student"]) // (sizes["student"] + 1)  # 6 w + w + 2 w, then w C + C
    cohort = Cohort(
        {key: lambda width=width: Dense(width, classes) for key, width in sizes.items()}, branched=False, seed=0
    ).double()
    for backbone, values in zip(cohort.backbones, flat.values(), strict=True):
        with torch.no_grad():
            parameters = list(backbone.parameters())
            for tensor, part in zip(parameters, values.split([each.numel() for each in parameters]), strict=True):
                tensor.copy_(part.view_as(tensor))
    expert = GOLDEN["trajectory.expert"].bool().tolist()
    assert True in expert
    assert False in expert
    learner = Learner(cohort, Switched(expert))
    optimizer = torch.optim.SGD(learner.trained_parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    step = TrainStep(learner, learner, optimizer)
    learner.train()
    for x, y in zip(GOLDEN["trajectory.x"], GOLDEN["trajectory.y"].long(), strict=True):
        step(Batch(x[:, :, None, None], y, torch.arange(len(y))))
    for key, backbone in zip(cohort.keys, cohort.backbones, strict=True):
        end = torch.cat([parameter.detach().flatten() for parameter in backbone.parameters()])
        torch.testing.assert_close(end, GOLDEN[f"trajectory.end.{key}"], rtol=1e-10, atol=1e-12)
        norm = backbone.stages[0][1]  # its statistics move while the teacher is paused
        torch.testing.assert_close(norm.running_mean, GOLDEN[f"trajectory.bn_mean.{key}"], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(norm.running_var, GOLDEN[f"trajectory.bn_var.{key}"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("pauses", [[True, False, False], [False, True, False]])
def test_a_paused_network_is_as_if_its_optimizer_took_no_step(
    make: type[torch.optim.Optimizer], pauses: list[bool]
) -> None:
    options = {"lr": 0.1, "weight_decay": 0.01} | ({"momentum": 0.9} if make is torch.optim.SGD else {})

    def train(paused: list[Tensor | None]) -> list[Tensor]:
        cohort = Cohort({key: lambda: Dense(3, 2) for key in "ab"}, branched=False, seed=0)
        optimizer = make(cohort.parameters(), fused=True, **options)  # type: ignore[call-arg]
        for i, each in enumerate(paused):
            for parameter in cohort.parameters():
                parameter.grad = torch.full_like(parameter, float(i + 1))
            with keep_paused(cohort, optimizer, each):
                optimizer.step()
        return list(cohort.backbones[0].parameters())

    masks = [torch.tensor([pause, False]) for pause in pauses]
    taken = [i for i, pause in enumerate(pauses) if not pause]
    actual = train(list(masks))

    cohort = Cohort({key: lambda: Dense(3, 2) for key in "ab"}, branched=False, seed=0)
    expected = list(cohort.backbones[0].parameters())
    optimizer = make(expected, fused=True, **options)  # type: ignore[call-arg]
    for i in taken:
        for parameter in expected:
            parameter.grad = torch.full_like(parameter, float(i + 1))
        optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))


def test_a_shared_module_pauses_only_with_all_its_networks() -> None:
    cohort = Cohort({key: lambda: Dense(3, 2) for key in "ab"}, branched=False, seed=0, shared_stages=1)
    optimizer = torch.optim.SGD(cohort.parameters(), lr=0.1)
    for parameter in cohort.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: parameter.clone() for name, parameter in cohort.named_parameters()}
    with keep_paused(cohort, optimizer, torch.tensor([True, False])):
        optimizer.step()
    moved = {name for name, parameter in cohort.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name in before if not name.startswith("networks.a.backbone.head")}


@pytest.mark.parametrize("paused", [torch.zeros(3, dtype=torch.bool), torch.zeros(2), torch.tensor(False)])
def test_anything_but_one_bool_for_each_network_is_refused(paused: Tensor) -> None:
    cohort = Cohort({key: lambda: Dense(3, 2) for key in "ab"}, branched=False, seed=0)
    optimizer = torch.optim.SGD(cohort.parameters(), lr=0.1)
    message = r"paused\(\) returns .*one bool for each of the 2 networks"
    with pytest.raises(UserError, match=message), keep_paused(cohort, optimizer, paused):
        pass
