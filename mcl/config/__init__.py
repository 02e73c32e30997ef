"""Configurations: composing, checking and building what ``conf/`` describes.

Importing any part of this package registers the interpolations of the YAML files, because Slurm and Ray unpickle a job
in a process without an entry point.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcl.config import resolvers

if TYPE_CHECKING:
    from mcl.config.build_network import network_names
    from mcl.config.checks import check_config
    from mcl.config.compose import compose_train
    from mcl.config.instantiate import build

__all__ = ["build", "check_config", "compose_train", "network_names"]
_FILES = {
    "build": "instantiate",
    "check_config": "checks",
    "compose_train": "compose",
    "network_names": "build_network",
}

resolvers.register()


def __getattr__(name: str) -> Any:  # on first use: some of them import torch
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
