"""Backbones made of stages, their auxiliary branches, and the cohort that learns together.

A new architecture is a subclass of `Backbone`: a stem, stages and a `Head`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.networks.backbone import Backbone, Head
    from mcl.networks.branches import Network
    from mcl.networks.cohort import Cohort
    from mcl.networks.counting import multiply_adds
    from mcl.networks.torchvision import TorchvisionBackbone

__all__ = ["Backbone", "Cohort", "Head", "Network", "TorchvisionBackbone", "multiply_adds"]
_FILES = {
    "Backbone": "backbone",
    "Cohort": "cohort",
    "Head": "backbone",
    "Network": "branches",
    "TorchvisionBackbone": "torchvision",
    "multiply_adds": "counting",
}


def __getattr__(name: str) -> Any:  # on first use: these import torch
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
