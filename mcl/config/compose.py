"""Compose a configuration inside a program, as ``python train.py`` does at the command line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from mcl.config.checks import check_config
from mcl.config.conf_folder import conf_folder
from mcl.config.explain import explain
from mcl.config.loader import ReusingLoader
from mcl.config.schema import register
from mcl.config.trial_build import try_building
from mcl.errors import UserError
from mcl.runs.renames import current_overrides


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
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        hydra.config_loader = ReusingLoader(hydra.config_loader.get_search_path())
        yield _compose


def compose_train(overrides: Sequence[str]) -> DictConfig:
    """Compose what ``python train.py OVERRIDES`` would run.

    Raises:
        UserError: an override is wrong.
    """
    with composing() as compose_one:
        return compose_one(overrides).config


def _compose(overrides: Sequence[str]) -> Composed:
    try:
        full = compose("train", overrides=current_overrides(overrides), return_hydra_config=True)
        config = OmegaConf.masked_copy(full, [str(key) for key in full if key != "hydra"])
        check_config(config)
        try_building(config)
        return Composed(config, Path(full.hydra.run.dir))
    except Exception as error:
        message = explain(error, overrides)
        if message is None:
            raise
        raise UserError(message) from error
