"""Use a trained run: evaluate it, export its networks, load them, bundle it.

Files in a run folder, a bundle or an export are not trusted. Weights are read as tensors and plain values. A
configuration passes `mcl.runs.received`. A class that it names is built only if it is of the kind that its place calls
for (`mcl.deploy.kinds`), or lies in a module that the caller allows. The file's own ``allow_modules`` is ignored.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.deploy.bundle import write_bundle
    from mcl.deploy.detailed_evaluation import evaluate_run
    from mcl.deploy.export import export_networks
    from mcl.deploy.saved_run import SavedRun

__all__ = ["SavedRun", "evaluate_run", "export_networks", "write_bundle"]
_HOME = {
    "SavedRun": "saved_run",
    "evaluate_run": "detailed_evaluation",
    "export_networks": "export",
    "write_bundle": "bundle",
}


def __getattr__(name: str) -> Any:  # on first use: they import torch
    if name in _HOME:
        return getattr(importlib.import_module(f"mcl.deploy.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
