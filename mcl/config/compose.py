"""Composing a configuration inside a program, as ``python train.py`` does at the command line."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from mcl.config.entry import explain, register
from mcl.config.folder import conf_folder
from mcl.config.groups import check_groups
from mcl.errors import UserError


def compose_train(overrides: Sequence[str]) -> DictConfig:
    """What ``python train.py OVERRIDES`` would run.

    Raises:
        UserError: an override is wrong.
    """
    register()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = compose("train", overrides=list(overrides))
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise UserError(message) from error
    check_groups(config)
    return config
