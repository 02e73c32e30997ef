"""Runs with shared stages, averages and views: resumed bit for bit, evaluated, exported and loaded."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_runs import META, Outcome

import mcl
from mcl.deploy import evaluate_run, export_networks
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.losses.independent import Independent
from mcl.networks.cohort import Cohort
from mcl.networks.counting import parameters
from mcl.runs import checkpoints
from mcl.training.deployment import deployed_keys

Small = Callable[..., Any]
PEERS = ["pair.shared_stages=2", "trainer.ema=0.9", "trainer.views=separate", "pair.leader=second"]
RUNS = {"peers": [*PEERS, "loss=independent"], "lmcl": ["pair.shared_stages=1", "trainer.ema=0.5", *META]}
RUNS["recipe"] = [
    *("recipe=modern", "loss=mcl", "trainer.batch_size=8", "trainer.accumulate=2", "sampler=resampled"),
    *("pair.first.drop_path=0.3", "trainer.class_weights=balanced"),
]


class PowerCut(BaseException):
    """Simulate a power cut: the process ends without saving."""


@pytest.mark.parametrize("name", RUNS)
def test_a_run_with_parts_resumes_bit_for_bit(name: str, small: Small, during_step: Any) -> None:
    assert small("whole", *RUNS[name]).status == 0

    def power_cut() -> None:
        raise PowerCut

    during_step(7, power_cut)
    with pytest.raises(PowerCut):
        small("run", *RUNS[name], "trainer.checkpoint_every=2")
    assert checkpoints.load(Path("run/checkpoints/last.pt"))["step"] == 6
    again = small("run", *RUNS[name], "trainer.checkpoint_every=2")
    assert again.status == 0, again.err
    assert Outcome("run").equals(Outcome("whole"))


def test_the_average_of_the_leader_is_what_is_deployed(small: Small, tmp_path: Path) -> None:
    result = small("run", *RUNS["peers"])
    assert result.status == 0, result.err
    state, summary = Outcome("run").state, Outcome("run").summary
    learner = state["learner"]
    trunk = [learner[f"average.networks.{key}.backbone.stages.1.0.conv1.weight"] for key in ("first", "second")]
    assert torch.equal(*trunk)
    assert not torch.equal(trunk[0], learner["cohort.networks.first.backbone.stages.1.0.conv1.weight"])
    network = mcl.load("run")
    assert torch.equal(
        network.state_dict()["head.classifier.weight"],
        learner["average.networks.second.backbone.head.classifier.weight"],
    )
    scores = evaluate_run(SavedRun("run"))
    for key, stored in zip(("first", "second"), summary["networks"], strict=True):
        assert scores[f"{key}/backbone"].result()["top1"] == pytest.approx(stored["top1_last"])
    (exported,) = export_networks(SavedRun("run"), "safetensors")
    assert exported.path.name == "second-resnet8.safetensors"
    make = partial(mcl.build_network, "resnet8", 4, in_channels=1)
    assert mcl.load(exported.path).state_dict().keys() == make().state_dict().keys()
    both = parameters(Cohort({"a": make, "b": make}, branched=False, seed=0, shared_stages=2))
    alone = parameters(make())
    assert alone < summary["training_parameters"] == both < 2 * alone
    assert result.out.index("second resnet8  ") < result.out.index("first resnet8 (not deployed)")


def test_shared_stages_with_a_meta_round_stay_shared(small: Small) -> None:
    assert small("run", *RUNS["lmcl"], "trainer.max_steps=2").status == 0
    learner = Outcome("run").state["learner"]
    for part in ("stem.0.weight", "stem.1.running_mean", "stages.0.0.conv1.weight"):
        assert torch.equal(*(learner[f"cohort.networks.{key}.backbone.{part}"] for key in ("first", "second")))


class Leading(Independent):
    """Deploys the networks that a test names."""

    chosen: list[int] | None = None

    def deployed(self, shapes: object) -> list[int] | None:
        return self.chosen


@pytest.mark.parametrize(
    ("chosen", "leader", "expected"),
    [(None, None, ["a", "b"]), ([1], None, ["b"]), ([1, 0], None, ["b", "a"]), ([1], "a", ["a"])],
)
def test_the_loss_or_the_option_chooses_what_is_deployed(
    chosen: list[int] | None, leader: str | None, expected: list[str]
) -> None:
    networks = Cohort({key: partial(mcl.build_network, "resnet8", 4) for key in "ab"}, branched=False, seed=0)
    loss = Leading(widths=networks.widths)
    loss.chosen = chosen
    assert deployed_keys(loss, networks, leader) == expected
    networks["b"].frozen = True
    loss.chosen = [1]
    assert deployed_keys(loss, networks, leader) == ["a"]  # not the one that only teaches
    loss.chosen = [2]
    with pytest.raises(UserError, match=r"deploys the networks \[2\].*pair\.leader=b"):
        deployed_keys(loss, networks, None)
