"""Frozen networks: never trained, and where their weights come from."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_runs import Outcome

from mcl import build_network
from mcl.errors import UserError
from mcl.losses.independent import Independent
from mcl.networks.cohort import Cohort
from mcl.runs import checkpoints
from mcl.training.cost import Cost
from mcl.training.data_parallel import float_buffers
from mcl.training.initial_weights import load_initial_weights, start_network_from
from mcl.training.learner import Learner
from mcl.training.train_step import TrainStep
from mcl.types import Batch

Small = Callable[..., Any]


def cohort(**names: str) -> Cohort:
    factories = {key: partial(build_network, name, 4) for key, name in names.items()}
    return Cohort(factories, branched=False, seed=1, frozen=["second"])


def test_a_frozen_network_does_not_move() -> None:
    networks = cohort(first="resnet8", second="wrn_10_1")
    learner = Learner(networks, Independent(widths=networks.widths))
    optimizer = torch.optim.SGD(learner.trained_parameters(), lr=0.1, weight_decay=0.1)
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    learner.train()
    images = torch.randn(4, 3, 8, 8)
    values = TrainStep(learner, learner, optimizer, clip_norm=1.0)(Batch(images, torch.arange(4), torch.arange(4)))
    assert values["train/grad_norm"] > 0
    moved = {
        name.split(".")[1] for name, tensor in networks.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert moved == {"first"}
    assert [network.training for network in networks] == [True, False]
    assert [shape.frozen for shape in networks.shapes()] == [False, True]
    frozen = networks.backbones[1].eval()(images)
    assert torch.equal(networks(images)[1].logits[-1], frozen)


def test_a_frozen_network_costs_its_forward_pass() -> None:
    frozen, trained = cohort(first="resnet8", second="wrn_10_1"), cohort(first="resnet8", third="wrn_10_1")
    one, two = (Cost.of(each, Independent(widths=each.widths), (3, 8, 8)) for each in (frozen, trained))
    assert two.step - one.step == 2 * one.deployed["second"]["multiply_adds"]
    assert one.training_parameters == two.training_parameters


def test_processes_average_no_statistics_of_frozen_networks() -> None:
    networks = cohort(first="resnet8", second="resnet8")
    learner = Learner(networks, Independent(widths=networks.widths))
    learner.start_average(0.9)
    averaged = {id(buffer) for buffer in float_buffers(learner)}
    assert averaged == {id(each) for each in networks.backbones[0].buffers() if each.is_floating_point()}


def save(networks: Cohort, path: Path, prefix: str = "cohort.") -> str:
    checkpoints.save(path, {"step": 0, "learner": {f"{prefix}{k}": t for k, t in networks.state_dict().items()}})
    return str(path)


def head(networks: Cohort, key: str) -> torch.Tensor:
    return networks.networks[key].backbone.head.classifier.weight


@pytest.mark.parametrize("prefix", ["cohort.", "average."])
def test_one_network_starts_from_the_one_that_fits(prefix: str, tmp_path: Path) -> None:
    place = save(
        Cohort({"a": partial(build_network, "wrn_10_1", 4)}, branched=False, seed=5), tmp_path / "a.pt", prefix
    )
    networks = cohort(first="resnet8", second="wrn_10_1")
    untouched = head(networks, "first").clone()
    load_initial_weights(networks, {"second": place})
    assert torch.equal(
        head(networks, "second"),
        checkpoints.load(Path(place))["learner"][f"{prefix}networks.a.backbone.head.classifier.weight"],
    )
    assert torch.equal(head(networks, "first"), untouched)
    with pytest.raises(UserError, match="does not fit resnet8"):
        start_network_from(Path(place), networks, "first")
    with pytest.raises(UserError, match=r"init_from=.*not init_weights=0123"):
        load_initial_weights(networks, {"second": place}, {"second": "0123"})


def test_of_several_that_fit_the_same_key_counts(tmp_path: Path) -> None:
    pair = Cohort({key: partial(build_network, "resnet8", 4) for key in ("first", "second")}, branched=False, seed=5)
    place = Path(save(pair, tmp_path / "pair.pt"))
    networks = cohort(first="resnet8", second="resnet8")
    start_network_from(place, networks, "second")
    assert torch.equal(head(networks, "second"), head(pair, "second"))
    third = cohort(first="resnet8", third="resnet8")
    with pytest.raises(UserError, match=r"would all fit.*--network first"):
        start_network_from(place, third, "third")
    with pytest.raises(UserError, match="there is no file"):
        start_network_from(tmp_path / "nothing", networks, "second")


def test_a_student_learns_beside_an_exported_teacher(small: Small) -> None:
    from mcl.deploy import export_networks
    from mcl.deploy.saved_run import SavedRun

    assert small("teacher", "pair=single", "loss=independent", "trainer.max_steps=3").status == 0
    (exported,) = export_networks(SavedRun("teacher"), "safetensors")
    student = small(
        "student",
        "pair.second.frozen=true",
        f"init_from={{second: {exported.path}}}",
        "pair.leader=first",
        "loss=mcl",
        "loss.dim=8",
    )
    assert student.status == 0, student.err
    assert "second resnet8" in student.out
    assert "frozen, not deployed" in student.out
    weights, teacher = Outcome("student").state["learner"], Outcome("teacher").state["learner"]
    for name, tensor in teacher.items():
        if name.startswith("cohort."):
            assert torch.equal(weights[name.replace("first", "second")], tensor), name
    assert Outcome("student").summary["deployed"] == ["first"]
    assert [file.path.name for file in export_networks(SavedRun("student"), "torch")] == ["first-resnet8.pt"]
