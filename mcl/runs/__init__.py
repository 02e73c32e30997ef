"""The run folder: its files, their formats, and which run it belongs to.

A run folder read back (`read_run`) needs no torch; `Checkpoints` does.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.runs.archived import archived_runs
    from mcl.runs.checkpoints import Checkpoints
    from mcl.runs.identity import config_hash
    from mcl.runs.metrics_file import read_metrics
    from mcl.runs.reading import Run, find_runs, read_run
    from mcl.runs.stored_config import read_config
    from mcl.runs.summary import read_summary

__all__ = [
    "Checkpoints",
    "Run",
    "archived_runs",
    "config_hash",
    "find_runs",
    "read_config",
    "read_metrics",
    "read_run",
    "read_summary",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "archived": ["archived_runs"],
        "checkpoints": ["Checkpoints"],
        "identity": ["config_hash"],
        "metrics_file": ["read_metrics"],
        "reading": ["Run", "find_runs", "read_run"],
        "stored_config": ["read_config"],
        "summary": ["read_summary"],
    },
)
