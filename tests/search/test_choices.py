"""Every sampler and pruner that can be chosen is one that Optuna builds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf

from mcl.config.conf_folder import conf_folder
from mcl.search.space import parse_space
from mcl.search.storage import build
from mcl.search.trials import Trials, is_grid

FILES = sorted((conf_folder() / "hydra" / "sweeper").glob("*/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_choice_can_be_built(file: Path, composed: Callable[..., Any]) -> None:
    choice = f"hydra/sweeper/{file.parent.name}={file.stem}"
    config = composed("hydra/sweeper=optuna", choice, hydra=True)
    node = OmegaConf.to_object(config.hydra.sweeper[file.parent.name])
    supplied = {"search_space": {"a": [1]}} if is_grid(node) else {}
    if file.stem == "cmaes":
        pytest.importorskip("cmaes")
    assert build(node, file.parent.name, **supplied)


@pytest.mark.parametrize("name", ["tpe", "random", "grid", "nsgaii"])
def test_sampler_proposes_different_trials_for_two_objectives(name: str, composed: Callable[..., Any]) -> None:
    config = composed("hydra/sweeper=optuna", f"hydra/sweeper/sampler={name}", hydra=True)
    study = optuna.create_study(directions=["maximize", "minimize"])
    node = OmegaConf.to_object(config.hydra.sweeper.sampler)
    trials = Trials(study, parse_space(["a=1,2,3,4"], {}), node, n_trials=4, n_jobs=2, max_failure_rate=0)
    jobs = set()
    while (proposal := trials.next()) is not None:
        jobs.add(tuple(proposal.overrides))
        trials.completed(proposal.number, [float(proposal.number), 1.0])
    assert len(jobs) >= (4 if name == "grid" else 2)
