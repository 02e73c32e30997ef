"""Buffers and gradients that processes average."""

from typing import Any

import pytest
from support.small_runs import SMALL

from mcl.config.compose import compose_train
from mcl.training.data_parallel import data_parallel, float_buffers
from mcl.training.learner import Learner
from mcl.training.setup import assemble


def learner_of(*overrides: str) -> Learner:
    parts = assemble(compose_train([*SMALL, *overrides]))
    return parts.build_trainer(parts.dataset.load(), seed=0).learner


@pytest.mark.parametrize("loss", [["loss=lmcl", "loss/matching=one"], ["loss=kdcl"]])
def test_constants_of_a_loss_are_not_averaged(loss: list[str]) -> None:
    learner = learner_of(*loss, "trainer.class_weights=balanced")
    names = {id(buffer): name for name, buffer in learner.named_buffers()}
    averaged = {names[id(buffer)] for buffer in float_buffers(learner)}
    assert {name.rpartition(".")[2] for name in averaged} == {"running_mean", "running_var"}
    assert {name for name in names.values() if name.startswith("loss.")}


@pytest.mark.parametrize("deterministic", [False, True])
def test_deterministic_runs_keep_the_first_buckets(monkeypatch: pytest.MonkeyPatch, deterministic: bool) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr("mcl.training.data_parallel.broadcast_learner", lambda learner: None)
    monkeypatch.setattr(
        "mcl.training.data_parallel.DistributedDataParallel", lambda learner, **options: given.append(options)
    )
    data_parallel(learner_of("loss=mcl"), deterministic=deterministic)
    assert given[0]["find_unused_parameters"] == deterministic
