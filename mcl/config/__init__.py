"""Configurations: composing, checking and building what ``conf/`` describes.

Importing any part of this package registers the interpolations of the YAML files, and that a run writes ``.hydra``
itself, because Slurm and Ray unpickle a job in a process without an entry point.
"""

from typing import TYPE_CHECKING

from mcl.config import hydra_saving, resolvers
from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.config.build_network import network_names
    from mcl.config.checks import check_config
    from mcl.config.compose import compose, compose_train
    from mcl.config.instantiate import build

__all__ = ["build", "check_config", "compose", "compose_train", "network_names"]

resolvers.register()
hydra_saving.register()
__getattr__ = lazy_exports(
    __name__,
    {
        "build_network": ["network_names"],
        "checks": ["check_config"],
        "compose": ["compose", "compose_train"],
        "instantiate": ["build"],
    },
)
