"""Moving averages of the networks: the published teachers, and ``trainer.ema`` of any run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from mcl.errors import UserError
from mcl.losses.base import Loss, running_decay
from mcl.losses.independent import Independent
from mcl.networks.backbone import Backbone, Head, bn_relu
from mcl.networks.cohort import Cohort
from mcl.training.averaging import check_average, start_average, update_average
from mcl.training.learner import Learner
from mcl.training.train_step import TrainStep
from mcl.types import Batch, NetworkShape, Outputs

PCL = {
    name: torch.from_numpy(array) if array.ndim else array
    for name, array in np.load(Path(__file__).parent.parent / "golden" / "peers" / "pcl.npz").items()
    if array.dtype.kind in "fi"
}
T = 3.0
RAMP = float(np.exp(-5 * (1 - 40 / 80) ** 2))  # epoch 40 of 80


class Peer(Backbone):
    """The small network of the golden trajectory; its stem is shared as the first stage."""

    def __init__(self, classes: int):
        trunk = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), bn_relu(2))
        own = nn.Sequential(nn.Conv2d(2, 3, 3, 2, padding=1, bias=False), bn_relu(3))
        stages, head = [trunk, own], Head(3, classes)
        super().__init__(name="peer", stem=nn.Identity(), stages=stages, head=head, in_channels=1, stride=2)


class PeerCollaboration(Loss):
    """PCL, written out for this test."""

    terms = ("total",)
    needs_ema = True

    def __init__(self, shapes: Sequence[NetworkShape]):
        super().__init__()
        self.classifier = nn.Linear(sum(shape.widths[-1] for shape in shapes), shapes[0].num_classes)

    def forward(self, outputs: Sequence[Outputs], batch: Batch, *, teachers: Sequence[Outputs]) -> dict[str, Tensor]:
        ensemble = self.classifier(torch.cat([network.features[-1] for network in outputs], dim=1))
        total = cross_entropy(ensemble, batch.labels)
        for i, network in enumerate(outputs):
            own = network.logits[-1]
            others = [distil(other.logits[-1], own) for j, other in enumerate(teachers) if j != i]
            total = (
                total + cross_entropy(own, batch.labels) + RAMP * (distil(ensemble, own) + sum(others) / len(others))
            )
        return {"total": total}


def distil(teacher: Tensor, student: Tensor) -> Tensor:
    log_probs, target = (student / T).log_softmax(-1), (teacher.detach() / T).log_softmax(-1)
    return T**2 * kl_div(log_probs, target, log_target=True, reduction="batchmean")


def fill(tensors: Sequence[Tensor], flat: Tensor) -> None:
    """Set tensors one after the other from a flat array."""
    with torch.no_grad():
        for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(values.view_as(tensor))


def batch_statistics(cohort: Cohort) -> Tensor:
    norms = [cohort.backbones[0].stages[0][1][0], *(backbone.stages[1][1][0] for backbone in cohort.backbones)]
    return torch.cat([torch.cat([norm.running_mean, norm.running_var]) for norm in norms])


def test_peers_with_averaged_teachers_and_views_of_their_own_train_as_published() -> None:
    classes = PCL["trajectory.test_logits"].shape[-1]
    cohort = Cohort(
        {f"peer{i}": lambda: Peer(classes) for i in range(3)}, branched=False, seed=0, shared_stages=1
    ).double()
    learner = Learner(cohort, PeerCollaboration(cohort.shapes()).double())
    learner.start_average(None)
    own = list(cohort.parameters())
    fill([*own, *learner.loss.parameters()], PCL["trajectory.start.student"])
    sizes = sum(parameter.numel() for parameter in own)
    fill(list(learner.average.parameters()), PCL["trajectory.start.mean"][:sizes])
    optimizer = torch.optim.SGD(learner.trained_parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    step = TrainStep(learner, learner, optimizer)
    learner.train()
    views = PCL["trajectory.views"].transpose(1, 2)  # (steps + 1, 3, B, 1, 4, 4)
    for i, total in enumerate(PCL["trajectory.totals"]):
        labels = PCL["trajectory.labels"][i].long()
        values = step(Batch(views[i], labels, torch.arange(len(labels))))
        torch.testing.assert_close(values["train/total"], total, rtol=1e-10, atol=1e-10)
        learner.update_average(i)
    close = {"rtol": 1e-10, "atol": 1e-10}
    end, mean = (
        torch.cat([each.detach().flatten() for each in part.parameters()]) for part in (cohort, learner.average)
    )
    torch.testing.assert_close(end, PCL["trajectory.end.student"][:sizes], **close)
    torch.testing.assert_close(mean, PCL["trajectory.end.mean"][:sizes], **close)
    torch.testing.assert_close(batch_statistics(cohort), PCL["trajectory.buffers.student"].flatten(), **close)
    torch.testing.assert_close(batch_statistics(learner.average), PCL["trajectory.buffers.mean"].flatten(), **close)
    deployed = learner.deployed.eval()(views[-1])
    logits = torch.stack([network.logits[-1] for network in deployed])
    torch.testing.assert_close(logits, PCL["trajectory.test_logits"], **close)


def test_decay_follows_the_published_steps() -> None:
    for step, decay in zip(PCL["ema.steps"].tolist(), PCL["ema.decay"].tolist(), strict=True):
        assert Loss().decay(int(step)) == running_decay(int(step), 0.999) == pytest.approx(decay, abs=1e-15)


def small_cohort(frozen: Sequence[str] = ()) -> Cohort:
    return Cohort({key: lambda: Peer(4) for key in ("first", "second")}, branched=False, seed=0, frozen=frozen)


def shift(cohort: Cohort, amount: float) -> None:
    with torch.no_grad():
        for tensor in [*cohort.parameters(), *cohort.buffers()]:
            tensor += 1 if not tensor.is_floating_point() else amount


def test_average_of_any_run_covers_batch_statistics_and_spares_frozen_networks() -> None:
    cohort = small_cohort(frozen=["second"])
    average = start_average(cohort)
    before = {name: tensor.clone() for name, tensor in cohort.state_dict().items()}
    shift(cohort, 1.0)
    update_average(average, cohort, 0.75, buffers=True)
    for name, tensor in average.state_dict().items():
        moved = 0.0 if "second" in name else 0.25 if tensor.is_floating_point() else 1
        torch.testing.assert_close(tensor, before[name] + moved, check_dtype=False)
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_average_is_the_mean_of_all_steps_until_it_reaches_its_decay() -> None:
    learner = Learner(small_cohort(), Independent(widths=[[3], [3]]))
    learner.start_average(0.9)
    weight, averaged = (part.backbones[0].head.classifier.weight for part in (learner.cohort, learner.average))
    seen = []
    for step in range(4):
        shift(learner.cohort, 0.5 * step)
        learner.update_average(step)
        seen.append(weight.detach().clone())
    torch.testing.assert_close(averaged, torch.stack(seen).mean(0))
    assert running_decay(100, 0.9) == 0.9
    assert {id(parameter) for parameter in learner.trained_parameters()}.isdisjoint(
        map(id, learner.average.parameters())
    )


def test_two_averages_are_refused() -> None:
    loss = PeerCollaboration(small_cohort().shapes())
    with pytest.raises(UserError, match=r"trainer\.ema=0\.9: loss PeerCollaboration averages the networks itself"):
        check_average(0.9, loss)
    check_average(None, loss)
