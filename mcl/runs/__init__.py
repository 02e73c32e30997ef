"""The run folder: its files, their formats, and which run it belongs to.

A run folder read back (`read_run`) needs no torch; `load_checkpoint` does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.runs.checkpoints import load as load_checkpoint
    from mcl.runs.identity import config_hash
    from mcl.runs.metrics_file import read_metrics
    from mcl.runs.reading import Run, find_runs, read_run
    from mcl.runs.stored_config import read_config
    from mcl.runs.summary import read_summary

__all__ = [
    "Run",
    "config_hash",
    "find_runs",
    "load_checkpoint",
    "read_config",
    "read_metrics",
    "read_run",
    "read_summary",
]

_MODULES = {  # imported on first use
    "Run": "reading.Run",
    "config_hash": "identity.config_hash",
    "find_runs": "reading.find_runs",
    "load_checkpoint": "checkpoints.load",
    "read_config": "stored_config.read_config",
    "read_metrics": "metrics_file.read_metrics",
    "read_run": "reading.read_run",
    "read_summary": "summary.read_summary",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _MODULES[name].partition(".")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
