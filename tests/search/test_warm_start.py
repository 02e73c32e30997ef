"""Warm start: which finished runs count as trials of a search."""

from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from support.run_folders import config, write_run

from mcl.data.known_fingerprints import of_digits
from mcl.search.space import parse_space
from mcl.search.warm_start import add_finished_runs


def test_runs_on_other_images_do_not_count(tmp_path: Path) -> None:
    def compose(overrides: list[str]) -> DictConfig:
        return OmegaConf.create({**config("mcl", 0), "allow_modules": []})

    def finished(name: str, **summary: Any) -> None:
        networks = [{"key": "first", "name": "resnet8", "validation_top1_last": 80.0}]
        write_run(tmp_path, "mcl", 0, [80, 80], folder=tmp_path / name, summary={"networks": networks, **summary})

    finished("same", data=of_digits(8))
    finished("other", data="0123456789abcdef")
    study = optuna.create_study(direction="maximize")
    space = parse_space(["optimizer.lr=interval(0.01,1.0)"], {})
    assert add_finished_runs(study, space, [str(tmp_path)], compose, "validation/top1_last") == 1
    assert [(trial.params, trial.value) for trial in study.trials] == [({"optimizer.lr": 0.1}, 80.0)]
