"""What the networks learn from: one file per method, and the parts that methods share.

A method is a `Loss`: a module that maps the outputs of all networks and the batch to named terms.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.losses.base import Loss, MetaSchedule
    from mcl.losses.contrast import mutual_contrast
    from mcl.losses.deep_supervision import DeepSupervision
    from mcl.losses.independent import Independent
    from mcl.losses.lmcl import LMCL
    from mcl.losses.matching import LayerMatching
    from mcl.losses.mcl import MCL

__all__ = ["LMCL", "MCL", "DeepSupervision", "Independent", "LayerMatching", "Loss", "MetaSchedule", "mutual_contrast"]
_FILES = {
    "LMCL": "lmcl",
    "MCL": "mcl",
    "DeepSupervision": "deep_supervision",
    "Independent": "independent",
    "LayerMatching": "matching",
    "Loss": "base",
    "MetaSchedule": "base",
    "mutual_contrast": "contrast",
}


def __getattr__(name: str) -> Any:  # on first use: these import torch
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
