"""Reports of finished runs: tables, statistics, plots and pages.

`write_report` does what ``python -m mcl report`` does. `rows_of_folders` and `rows_of_study` group runs into the rows
of a table, and `estimate` and `compare` are the statistics of such rows.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.reports.archive import archived_runs, pack_runs
    from mcl.reports.report import write_report
    from mcl.reports.rows import rows_of_folders, rows_of_study
    from mcl.reports.statistics import compare, estimate

_FILES = {
    "archived_runs": "archive",
    "compare": "statistics",
    "estimate": "statistics",
    "pack_runs": "archive",
    "rows_of_folders": "rows",
    "rows_of_study": "rows",
    "write_report": "report",
}
__all__ = ["archived_runs", "compare", "estimate", "pack_runs", "rows_of_folders", "rows_of_study", "write_report"]


def __getattr__(name: str) -> Any:  # on first use: a command that only plans needs none of them
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
