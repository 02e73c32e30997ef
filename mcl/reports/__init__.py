"""Reports of finished runs: tables, statistics, plots and pages.

`write_report` does what ``python -m mcl report`` does. `rows_of_folders` and `rows_of_study` group runs into the rows
of a table, and `estimate` and `compare` are the statistics of such rows. `read_runs` returns runs as a typed table,
for scripts and notebooks.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.reports.archive import pack_runs
    from mcl.reports.report import write_report
    from mcl.reports.results_table import read_runs
    from mcl.reports.rows import rows_of_folders, rows_of_study
    from mcl.reports.statistics import compare, estimate

__all__ = [
    "compare",
    "estimate",
    "pack_runs",
    "read_runs",
    "rows_of_folders",
    "rows_of_study",
    "write_report",
]
__getattr__ = lazy_exports(
    __name__,
    {
        "archive": ["pack_runs"],
        "report": ["write_report"],
        "rows": ["rows_of_folders", "rows_of_study"],
        "results_table": ["read_runs"],
        "statistics": ["compare", "estimate"],
    },
)
