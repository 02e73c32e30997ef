"""Online knowledge distillation by mutual contrastive learning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.config.build_network import build_network
    from mcl.deploy.load import load

__all__ = ["build_network", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # on first use: they import torch
    if name == "build_network":
        from mcl.config.build_network import build_network

        return build_network
    if name == "load":
        from mcl.deploy.load import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
