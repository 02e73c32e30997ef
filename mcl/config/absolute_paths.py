"""Make the paths in a configuration absolute, for a job that changes its working folder (``hydra.job.chdir``)."""

import copy
import os
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.files import expand_home
from mcl.runs.pair import WEIGHTS, networks_of
from mcl.runs.weights_places import parse_place

MLFLOW_URI, DATABASE = "tracking.mlflow.uri", "sqlite:///"
PATHS = ("dataset.root", "dataset.cache_dir", "init_from")  # what a run reads; all left out of its identity


def with_absolute_paths(config: DictConfig, folder: str) -> DictConfig:
    """Return a copy whose relative paths start at ``folder``."""
    config = copy.deepcopy(config)
    for key in PATHS:
        value = OmegaConf.select(config, key)
        if value is not None:
            OmegaConf.update(config, key, _absolute(value, folder), merge=False)
    uri = OmegaConf.select(config, MLFLOW_URI)
    if str(uri).startswith(DATABASE):  # with a fourth slash, the path is absolute, and stays
        OmegaConf.update(config, MLFLOW_URI, DATABASE + os.path.join(folder, uri.removeprefix(DATABASE)), merge=False)
    for key, network in networks_of(config.pair).items():
        weights = network.get(WEIGHTS) if isinstance(network, Mapping) else None
        if not isinstance(weights, str):
            continue
        place = _absolute(weights, folder)
        if os.path.lexists(place) or parse_place(weights) is not None:  # else the name of pretrained weights
            OmegaConf.update(config, f"pair.{key}.{WEIGHTS}", place, merge=False)
    return config


def _absolute(value: Any, folder: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _absolute(each, folder) for key, each in value.items()}
    return None if value is None else os.path.join(folder, expand_home(str(value)))
