"""Every method trains: in bfloat16 near float32, and resumed bit for bit."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.small_runs import SMALL, Outcome

from mcl.config.compose import compose_train
from mcl.deploy import evaluate_run
from mcl.deploy.saved_run import SavedRun
from mcl.training.evaluation import predictions
from mcl.training.initial_weights import load_initial_weights
from mcl.training.setup import assemble
from mcl.training.trainer import Trainer
from mcl.types import Batch

Small = Callable[..., Any]
RAMP = "{_target_: mcl.losses.ramps.Sigmoid, length: 1}"
METHODS = {
    "dml": [f"loss.weights.distillation={RAMP}"],
    "kdcl": ["loss.form=general", "dataset.validation=0.2"],
    "cl_ilr": ["pair.shared_stages=1"],
    "one": ["pair=resnet8", "pair.shared_stages=2", f"loss.weights.distillation={RAMP}"],
    "okddip": [],
    "pcl": ["pair=resnet8", "pair.shared_stages=2", f"loss.weights.teacher_distillation={RAMP}"],
    "ffl": [f"loss.weights.distillation={RAMP}"],
    "switokd": [],
    "dks": ["pair=single"],
    "byot": ["pair=single", "loss.form=journal"],
}
KD = ["loss=kd", "pair.second.frozen=true", "init_from={second: teacher}"]
every = pytest.mark.parametrize("name", METHODS)


def overrides(name: str) -> list[str]:
    return [f"loss={name}", *METHODS[name]]


@every
def test_a_stopped_run_resumes_bit_for_bit(name: str, small: Small, during_step: Callable[..., None]) -> None:
    options = [*overrides(name), "trainer.max_steps=7"]
    assert small("whole", *options).status == 0
    during_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("stopped", *options).status == 75
    assert small("stopped", *options).status == 0
    assert Outcome("stopped").equals(Outcome("whole"))


def trainer(*options: str) -> Trainer:
    config = compose_train([*SMALL, "trainer.device=cpu", "tracking=none", *options])
    parts = assemble(config)
    load_initial_weights(parts.learner.cohort, config.init_from)
    return parts.build_trainer(parts.dataset.load(), seed=config.seed)


@every
def test_first_steps_in_bfloat16_are_finite_and_near_those_in_float32(name: str) -> None:
    compare_precisions(*overrides(name))


def test_a_student_and_its_frozen_teacher_in_bfloat16(small: Small) -> None:
    assert small("teacher", "loss=independent", "trainer.max_steps=2").status == 0
    frozen = compare_precisions(*KD)
    assert {name.split(".")[1] for name in frozen} == {"second"}


def compare_precisions(*options: str) -> set[str]:
    """Assert that two steps in bfloat16 are finite and near those in float32; return the frozen parameters."""
    totals, frozen = [], set[str]()
    for precision in ("float32", "bfloat16"):
        built = trainer(*options, f"trainer.precision={precision}")
        frozen = {name for name, each in built.learner.cohort.named_parameters() if not each.requires_grad}
        before = {name: each.clone() for name, each in built.learner.cohort.named_parameters() if name in frozen}
        built.learner.train()
        built.learner.loss.set_epoch(1)
        batches = list(built.loader.epoch(0))[:2]
        values = [built.train_on_batch(batch) for batch in batches]
        assert all(value.isfinite() for step in values for value in step.values())
        assert all(before[name].equal(built.learner.cohort.get_parameter(name)) for name in frozen)
        totals.append(values[0]["train/total"].item())
    assert totals[1] == pytest.approx(totals[0], rel=0.03)
    return frozen


def test_a_student_resumes_beside_its_frozen_teacher(small: Small, during_step: Callable[..., None]) -> None:
    assert small("teacher", "loss=independent", "trainer.max_steps=2").status == 0
    assert small("whole", *KD).status == 0
    during_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("stopped", *KD).status == 75
    assert small("stopped", *KD).status == 0
    assert Outcome("stopped").equals(Outcome("whole"))
    (teacher, student) = (Outcome(run).state["learner"] for run in ("teacher", "whole"))
    assert evaluate_run(SavedRun("whole"))["second/backbone"].result()["top1"] >= 0
    frozen = {name: tensor for name, tensor in student.items() if name.startswith("cohort.networks.second.backbone.")}
    assert all((teacher[name] == tensor).all() for name, tensor in frozen.items() if not name.endswith("tracked"))


@pytest.mark.parametrize("name", ["one", "ffl"])
def test_the_ensemble_that_a_loss_trains_is_evaluated_in_training_and_in_saved_runs(name: str, small: Small) -> None:
    assert small("run", *overrides(name), "trainer.max_steps=2", "dataset.test_per_class=20").status == 0
    saved = SavedRun("run")
    cohort, loss = saved.learner()
    batch = Batch(torch.randn(5, 1, 8, 8), torch.zeros(5, dtype=torch.long), torch.arange(5))
    device = torch.device("cpu")
    ((heads, _),) = predictions(cohort, loss, [batch], device=device, precision="float32")
    with torch.no_grad():
        expected = loss.eval().ensemble(cohort.eval()(batch.images)).log_softmax(-1)
    torch.testing.assert_close(heads["ensemble"], expected)
    scores = evaluate_run(saved)["ensemble"].result()
    assert scores["top1"] == pytest.approx(Outcome("run").summary["ensemble"]["top1_last"])


def test_the_weights_of_kdcl_are_measured_on_held_out_images() -> None:
    built = trainer(*overrides("kdcl"))
    loss = built.learner.loss
    assert loss.mixing.tolist() == [0.5, 0.5]
    logits, labels = built.evaluator.held_out_logits(built.learner)
    assert logits.shape == (2, len(labels), 4)
    loss.measure_held_out(logits, labels)
    assert loss.mixing.sum().item() == pytest.approx(1.0)
    assert loss.mixing.tolist() != [0.5, 0.5]
    assert "loss.mixing" in built.learner.state_dict()


def test_the_fusion_module_has_a_weight_decay_of_its_own() -> None:
    built = trainer(*overrides("ffl"))
    networks, fusion = built.optimizers[0].param_groups
    assert (networks["weight_decay"], fusion["weight_decay"]) == (5e-4, 1e-5)
    assert len(fusion["params"]) == len(list(built.learner.loss.fusion.parameters()))
    assert len(networks["params"]) == len(list(built.learner.cohort.parameters()))
    built = trainer(*overrides("ffl"), "loss.weight_decay=null")
    assert len(built.optimizers[0].param_groups) == 1
