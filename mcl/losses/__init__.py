"""Losses: one file per method, and the parts that methods share.

A method is a `Loss`: a module that maps the outputs of all networks and the batch to named terms.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.losses.base import Loss, MetaSchedule
    from mcl.losses.contrast import mutual_contrast
    from mcl.losses.deep_supervision import DeepSupervision
    from mcl.losses.independent import Independent
    from mcl.losses.lmcl import LMCL
    from mcl.losses.matching import LayerMatching
    from mcl.losses.mcl import MCL

__all__ = ["LMCL", "MCL", "DeepSupervision", "Independent", "LayerMatching", "Loss", "MetaSchedule", "mutual_contrast"]
__getattr__ = lazy_exports(
    __name__,
    {
        "base": ["Loss", "MetaSchedule"],
        "contrast": ["mutual_contrast"],
        "deep_supervision": ["DeepSupervision"],
        "independent": ["Independent"],
        "lmcl": ["LMCL"],
        "matching": ["LayerMatching"],
        "mcl": ["MCL"],
    },
)
