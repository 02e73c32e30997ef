"""Losses: one file per method, and the parts that methods share.

A method is a `Loss`: a module that maps the outputs of all networks and the batch to named terms.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.losses.base import Loss, MetaSchedule
    from mcl.losses.byot import BYOT
    from mcl.losses.cl_ilr import CLILR
    from mcl.losses.contrast import mutual_contrast
    from mcl.losses.deep_supervision import DeepSupervision
    from mcl.losses.dks import DKS
    from mcl.losses.dml import DML
    from mcl.losses.ffl import FFL
    from mcl.losses.independent import Independent
    from mcl.losses.kd import KD
    from mcl.losses.kdcl import KDCL
    from mcl.losses.lmcl import LMCL
    from mcl.losses.matching import LayerMatching
    from mcl.losses.mcl import MCL
    from mcl.losses.okddip import OKDDip
    from mcl.losses.one import ONE
    from mcl.losses.pcl import PCL
    from mcl.losses.switokd import SwitOKD

__all__ = [
    "BYOT",
    "CLILR",
    "DKS",
    "DML",
    "FFL",
    "KD",
    "KDCL",
    "LMCL",
    "MCL",
    "ONE",
    "PCL",
    "DeepSupervision",
    "Independent",
    "LayerMatching",
    "Loss",
    "MetaSchedule",
    "OKDDip",
    "SwitOKD",
    "mutual_contrast",
]
__getattr__ = lazy_exports(
    __name__,
    {
        "base": ["Loss", "MetaSchedule"],
        "byot": ["BYOT"],
        "cl_ilr": ["CLILR"],
        "contrast": ["mutual_contrast"],
        "deep_supervision": ["DeepSupervision"],
        "dks": ["DKS"],
        "dml": ["DML"],
        "ffl": ["FFL"],
        "independent": ["Independent"],
        "kd": ["KD"],
        "kdcl": ["KDCL"],
        "lmcl": ["LMCL"],
        "matching": ["LayerMatching"],
        "mcl": ["MCL"],
        "okddip": ["OKDDip"],
        "one": ["ONE"],
        "pcl": ["PCL"],
        "switokd": ["SwitOKD"],
    },
)
