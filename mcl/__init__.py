"""Online knowledge distillation by mutual contrastive learning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.config.build_network import build_network
    from mcl.deploy.load import load

__all__ = ["build_network", "load"]
__version__ = "0.1.0"
_MODULES = {"build_network": "mcl.config.build_network", "load": "mcl.deploy.load"}


def __getattr__(name: str) -> Any:  # on first use: they import torch
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
