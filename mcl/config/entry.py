"""The decorator of the entry points: Hydra composes the configuration, and what a person got wrong is said plainly."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from mcl.config import resolvers
from mcl.config.folder import conf_folder
from mcl.config.schema import TrainConfig
from mcl.errors import UserError, did_you_mean

USAGE_ERROR, INTERRUPTED = 1, 130


def register() -> None:
    """Make the schema and the interpolations known to Hydra."""
    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    resolvers.register()


def main(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorate a task so that it is an entry point composed from ``conf/<config_name>.yaml``."""

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def entry() -> None:
            register()
            run = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(task)
            with_traceback = os.environ.get("HYDRA_FULL_ERROR", "") not in ("", "0")
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands the exception over instead of printing a traceback
            try:
                run()
            except KeyboardInterrupt:
                print("\nInterrupted.", file=sys.stderr)
                sys.exit(INTERRUPTED)
            except Exception as error:
                message = explain(error)
                if message is None or with_traceback:
                    raise
                print(f"error: {message}", file=sys.stderr)
                sys.exit(USAGE_ERROR)

        return entry

    return decorate


def explain(error: BaseException) -> str | None:
    """What to tell the person at the keyboard, or None when the error is ours and deserves a traceback."""
    chain = _causes(error)
    for cause in chain:
        if isinstance(cause, UserError):
            return str(cause)
    for cause in chain:
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file and cause.options:
            return _missing_choice(str(cause.missing_cfg_file), [str(option) for option in cause.options])
        if isinstance(cause, MissingMandatoryValue):
            key = cause.full_key or cause.key
            return f"{key} is not set: give {key}=VALUE."
    for cause in reversed(chain):
        if isinstance(cause, OmegaConfBaseException) and cause.key is not None:
            return _bad_key(cause, chain)
    if any(isinstance(cause, HydraException | OmegaConfBaseException) for cause in chain):
        return _one_line(str(chain[0]))
    return None


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain


def _missing_choice(missing: str, options: list[str]) -> str:
    group, _, name = missing.rpartition("/")
    while group and not (conf_folder() / group).is_dir():  # names such as imagenet/resnet18
        group, _, front = group.rpartition("/")
        name = f"{front}/{name}"
    return (
        f"{group}={name}: there is no such choice.{did_you_mean(name, options)}"
        f" {group} is one of: {', '.join(sorted(options))}."
    )


def _bad_key(cause: OmegaConfBaseException, chain: list[BaseException]) -> str:
    full_key = str(cause.full_key or cause.key)
    parent = cause.parent_node
    siblings = [str(key) for key in parent] if isinstance(parent, DictConfig) and not parent._is_none() else []
    key = str(cause.key)
    if siblings and key not in siblings:
        siblings = [name for name in siblings if name != "hydra"]
        return f"{full_key}: there is no such option.{did_you_mean(key, siblings)} Here are: {', '.join(siblings)}."
    composition = [c for c in chain if isinstance(c, ConfigCompositionException)]
    return _one_line(f"{full_key}: {cause.msg or composition or cause}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
