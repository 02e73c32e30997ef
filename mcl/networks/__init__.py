"""Backbones made of stages, their auxiliary branches, and the cohort that learns together.

A new architecture is a subclass of `Backbone`: a stem, stages and a `Head`.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.networks.backbone import Backbone, Head
    from mcl.networks.branches import Network
    from mcl.networks.cohort import Cohort
    from mcl.networks.counting import multiply_adds
    from mcl.networks.library import LibraryBackbone
    from mcl.networks.torchvision import TorchvisionBackbone

__all__ = ["Backbone", "Cohort", "Head", "LibraryBackbone", "Network", "TorchvisionBackbone", "multiply_adds"]
__getattr__ = lazy_exports(
    __name__,
    {
        "backbone": ["Backbone", "Head"],
        "branches": ["Network"],
        "cohort": ["Cohort"],
        "counting": ["multiply_adds"],
        "library": ["LibraryBackbone"],
        "torchvision": ["TorchvisionBackbone"],
    },
)
