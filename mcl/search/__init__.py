"""Searches with Optuna: what is searched, where trials are stored, which one is next, and when a run is pruned.

`parse_space` reads the ranges of a command line, `Trials` proposes the trials and records their results, and
`TrialPruner` ends a run early. Optuna is imported by the functions that use it, because ``train.py`` needs it for
trials only.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.search.matching_runs import RunMatcher
    from mcl.search.space import WITHOUT_TEST, Space, parse_space
    from mcl.search.storage import open_storage, quiet_optuna
    from mcl.search.trial_reports import TrialPruner
    from mcl.search.trials import Proposal, Trials
    from mcl.search.warm_start import add_finished_runs

__all__ = [
    "WITHOUT_TEST",
    "Proposal",
    "RunMatcher",
    "Space",
    "TrialPruner",
    "Trials",
    "add_finished_runs",
    "open_storage",
    "parse_space",
    "quiet_optuna",
]
__getattr__ = lazy_exports(
    __name__,
    {
        "matching_runs": ["RunMatcher"],
        "space": ["Space", "WITHOUT_TEST", "parse_space"],
        "storage": ["open_storage", "quiet_optuna"],
        "trial_reports": ["TrialPruner"],
        "trials": ["Proposal", "Trials"],
        "warm_start": ["add_finished_runs"],
    },
)
