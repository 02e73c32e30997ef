"""Fine-tuning: frozen stages, factors on the learning rate, and what frozen networks teach under every loss."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_runs import META, SMALL, Outcome

from mcl import build_network
from mcl.config.compose import compose_train
from mcl.errors import UserError
from mcl.losses.independent import Independent
from mcl.networks.cohort import Cohort
from mcl.training.cost import Cost
from mcl.training.data_parallel import float_buffers
from mcl.training.learner import Learner
from mcl.training.lr_factors import LR_FACTOR, PART, LrFactors
from mcl.training.optimizers import learning_rates, parameter_groups, set_learning_rate
from mcl.training.setup import assemble
from mcl.training.trainer import Trainer

Small = Callable[..., Any]
TUNING = ["optimizer.layer_decay=0.5", "optimizer.head_lr_factor=10", "pair.first.freeze=1", "trainer.ema=0.9"]
FROZEN = {  # losses that let networks learn from others
    "mcl": ["loss.dim=8"],
    "lmcl": META,
    "dml": [],
    "kdcl": [],
    "cl_ilr": [],
    "ffl": ["pair.shared_stages=0"],
    "switokd": ["loss.teachers=1"],
    "kd": [],
}


def cohort(*, branched: bool = False, **options: Any) -> Cohort:
    factories = {key: partial(build_network, "resnet8", 4) for key in ("first", "second")}
    return Cohort(factories, branched=branched, seed=1, **options)


def trainer(*options: str) -> Trainer:
    config = compose_train([*SMALL, "trainer.device=cpu", "tracking=none", *options])
    parts = assemble(config)
    return parts.build_trainer(parts.dataset.load(), seed=config.seed)


def test_frozen_stages_stay_in_evaluation_mode_and_have_no_optimizer() -> None:
    networks = cohort(branched=True, frozen_stages={"first": 2})
    learner = Learner(networks, Independent(widths=networks.widths))
    learner.start_average(0.9)
    learner.train()
    first, second = (backbone for backbone in networks.backbones)
    assert [first.stem.training, *(stage.training for stage in first.stages)] == [False, False, False, True]
    assert not any(module.training for module in [*first.stem.modules(), *first.stages[1].modules()])
    assert second.stem.training
    assert all(branch.training for branch in next(iter(networks)).branches)
    trained = {id(each) for each in learner.trained_parameters()}
    frozen = [*first.stem.parameters(), *first.stages[:2].parameters()]
    assert not any(each.requires_grad or id(each) in trained for each in frozen)
    assert all(id(each) in trained for each in first.stages[2].parameters())
    averaged = {id(buffer) for buffer in float_buffers(learner)}
    assert not averaged & {id(each) for each in [*first.stem.buffers(), *first.stages[:2].buffers()]}
    learner.eval()
    assert not any(module.training for module in networks.modules())


def test_frozen_stages_cost_their_forward_pass() -> None:
    losses = [cohort(frozen_stages={"first": stages} if stages else {}) for stages in (0, 3)]
    whole, tuned = (Cost.of(each, Independent(widths=each.widths), (3, 8, 8)) for each in losses)
    backbone = whole.deployed["first"]["multiply_adds"]
    assert whole.step == 6 * backbone
    assert tuned.step == 6 * backbone - 2 * (backbone - 64 * 4)  # the classifier alone has a backward pass


def test_more_stages_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(UserError, match=r"pair\.first\.freeze=4: resnet8 has 3 stages\. Give 1 to 3"):
        cohort(frozen_stages={"first": 4})


def test_each_part_has_its_learning_rate() -> None:
    networks = cohort(branched=True, frozen_stages={"first": 1})
    learner = Learner(networks, Independent(widths=networks.widths))
    groups = parameter_groups(learner, LrFactors(head=10, layer_decay=0.5))
    optimizer = torch.optim.SGD(groups, lr=0.1)
    set_learning_rate(optimizer, 0.5)
    assert learning_rates(optimizer) == pytest.approx(
        {
            "first/stage2": 0.0125,
            "first/stage3": 0.025,
            "first/classifier": 0.5,
            "second/stem": 0.003125,
            "second/stage1": 0.00625,
            "second/stage2": 0.0125,
            "second/stage3": 0.025,
            "second/classifier": 0.5,
        }
    )
    assert optimizer.param_groups[0]["lr"] == 0.05
    every = [id(each) for group in groups for each in group["params"]]
    assert sorted(every) == sorted(id(each) for each in learner.trained_parameters())
    classifiers = next(group for group in groups if group.get(PART) == "second/classifier")
    assert len(classifiers["params"]) == 2 * 3  # of two branches and the backbone
    assert classifiers[LR_FACTOR] == 10


class WithScale(Independent):
    """Has a parameter with a learning rate of its own."""

    def __init__(self, widths: list[list[int]]):
        super().__init__(widths=widths)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.scale], "lr": 0.01}]


def test_learning_rate_that_a_loss_gives_its_parameters_follows_the_schedule() -> None:
    networks = cohort()
    optimizer = torch.optim.SGD(parameter_groups(Learner(networks, WithScale(networks.widths))), lr=0.1)
    for factor in (1.0, 0.5):
        set_learning_rate(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == [0.1 * factor, 0.01 * factor]


def test_equal_factors_leave_the_optimizer_as_it_was() -> None:
    networks = cohort()
    learner = Learner(networks, Independent(widths=networks.widths))
    assert parameter_groups(learner, LrFactors()) == learner.trained_parameters()


@pytest.mark.parametrize("loss", ["lmcl", "mcl"])
def test_a_tuned_run_resumes_bit_for_bit(loss: str, small: Small, during_step: Callable[..., None]) -> None:
    own = META if loss == "lmcl" else ["loss.dim=8"]
    depths = [each for each in own if each.startswith("pair.first")]
    assert small("source", "pair=single", "loss=independent", "trainer.max_steps=2", *depths).status == 0
    options = [f"loss={loss}", *own, "pair.first.weights=source:first", *TUNING, "trainer.max_steps=7"]
    whole = small("whole", *options)
    assert whole.status == 0, whole.err
    during_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("stopped", *options).status == 75
    assert small("stopped", *options).status == 0
    one, other = Outcome("whole"), Outcome("stopped")
    assert other.equals(one)
    rates = [line for line in one.metrics if "train/lr/first/classifier" in line]
    assert rates[0]["train/lr/first/classifier"] == pytest.approx(10 * rates[0]["train/lr"])
    start = Outcome("source").state["learner"]
    for name, tensor in one.state["learner"].items():
        if ".first.backbone.stem." in name or ".first.backbone.stages.0." in name:
            assert torch.equal(tensor, start[name.replace("average.", "cohort.")]), name


@pytest.mark.parametrize("loss", FROZEN)
def test_a_frozen_partner_teaches_and_stays_as_it_is(loss: str, small: Small) -> None:
    depths = [each for each in FROZEN[loss] if each.startswith("pair.first")]
    assert small("source", "pair=single", "loss=independent", "trainer.max_steps=2", *depths).status == 0
    options = [f"loss={loss}", *FROZEN[loss], "trainer.max_steps=5"]
    run = small("run", *options, "pair.second.frozen=true", "pair.second.weights=source:first:best")
    assert run.status == 0, run.err
    state = Outcome("run").state
    before = Outcome("source").state["best"]["first"]
    prefix = "cohort.networks.second."
    after = {name.removeprefix(prefix): each for name, each in state["learner"].items() if name.startswith(prefix)}
    assert set(after) == {f"backbone.{name}" for name in before}  # no branches
    assert all(torch.equal(after[f"backbone.{name}"], tensor) for name, tensor in before.items())
    assert Outcome("run").summary["deployed"] == ["first"]
    assert "second resnet8 (" in run.out
    assert "frozen, not deployed" in run.out


def test_a_frozen_partner_has_no_state_in_the_optimizer(tmp_path: Path) -> None:
    torch.save(build_network("resnet8", 4, in_channels=1).state_dict(), tmp_path / "w.pt")
    built = trainer("loss=dml", "pair.second.frozen=true", f"pair.second.weights={tmp_path}/w.pt")
    built.learner.train()
    built.train_on_batch(next(iter(built.loader.epoch(0))))
    first, second = built.learner.cohort
    with_state = set(built.optimizers[0].state)
    assert with_state == set(first.parameters())
    assert not second.training


def test_networks_of_no_interest_are_not_deployed(small: Small, tmp_path: Path) -> None:
    run = small("run", "loss=dml", "trainer.max_steps=1", "pair.second.deployed=false")
    assert run.status == 0, run.err
    assert Outcome("run").summary["deployed"] == ["first"]
    assert "second resnet8 (not deployed)" in run.out
