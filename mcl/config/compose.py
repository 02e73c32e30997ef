"""Compose a configuration inside a program, as ``python train.py`` does at the command line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import hydra
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from mcl.config.checks import check_config
from mcl.config.conf_folder import add_own_conf, conf_folder
from mcl.config.explain import explain
from mcl.config.loader import ReusingLoader
from mcl.config.schema import register
from mcl.config.trial_build import try_building
from mcl.errors import UserError, unknown
from mcl.runs.renames import current_overrides

NAMES = ("train", "sweep")


class Composed(NamedTuple):
    """The result of composing a command line."""

    config: DictConfig  # without the ``hydra`` node
    folder: Path  # the run folder


@contextmanager
def composing() -> Iterator[Callable[[Sequence[str]], Composed]]:
    """Yield a function that composes what ``python train.py OVERRIDES`` would run.

    It is faster than repeated calls of `compose_train`.

    Raises:
        UserError: (by the function) an override is wrong.
    """
    register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        program = GlobalHydra.instance().hydra
        assert program is not None
        program.config_loader = ReusingLoader(add_own_conf(program.config_loader.get_search_path()))
        yield _compose


def compose_train(overrides: Sequence[str]) -> DictConfig:
    """Compose what ``python train.py OVERRIDES`` would run.

    Raises:
        UserError: an override is wrong.
    """
    with composing() as compose_one:
        return compose_one(overrides).config


def compose(config_name: str = "train", overrides: Sequence[str] = ()) -> DictConfig:
    """Compose and check what ``python train.py OVERRIDES`` or ``python sweep.py OVERRIDES`` would run.

    Examples:
        >>> import mcl
        >>> config = mcl.compose("train", ["loss=mcl", "seed=1"])
        >>> config.seed
        1

    Args:
        config_name: ``"train"`` or ``"sweep"``.
        overrides: as typed on the command line; choices in ``conf`` of the working folder are found, too.

    Returns:
        The configuration with Hydra's own part, ``config.hydra``, which names the run folder. Options may be changed
        before `mcl.train` gets it, and interpolations follow.

    Raises:
        UserError: an override is wrong.
    """
    if config_name not in NAMES:
        raise unknown("configuration", config_name, NAMES)
    with composing(), explained(overrides):
        if config_name == "train":
            return _full(overrides)[0]
        return hydra.compose(config_name, overrides=list(overrides), return_hydra_config=True)


@contextmanager
def explained(overrides: Sequence[str] = ()) -> Iterator[None]:
    """Turn errors of Hydra and OmegaConf about wrong settings into UserError; bugs stay as they are."""
    try:
        yield
    except Exception as error:
        message = explain(error, overrides)
        if message is None:
            raise
        raise UserError(message) from error


def _compose(overrides: Sequence[str]) -> Composed:
    with explained(overrides):
        full, config = _full(overrides)
        return Composed(config, Path(full.hydra.run.dir))


def _full(overrides: Sequence[str]) -> tuple[DictConfig, DictConfig]:
    """Compose and check a run; return its configuration with Hydra's own part, and without."""
    full = hydra.compose("train", overrides=current_overrides(overrides), return_hydra_config=True)
    config = task_part(full)
    check_config(config)
    try_building(config)
    return full, config


def task_part(full: DictConfig) -> DictConfig:
    """Return a configuration without Hydra's own part."""
    return OmegaConf.masked_copy(full, [str(key) for key in full if key != "hydra"])
