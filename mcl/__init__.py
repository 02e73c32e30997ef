"""Online knowledge distillation by mutual contrastive learning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.config.networks import build_network as build_network

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "build_network":  # on first use: it imports torch
        from mcl.config.networks import build_network

        return build_network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
