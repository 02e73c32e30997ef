"""``--cfg`` and ``--info`` with ``-m``: show each job of a multirun, which Hydra itself refuses."""

import shlex
from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from mcl.config.command_line import MULTIRUN, parse, split

SHOW = ("--cfg", "-c", "--info", "-i")


def shown_jobs(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return what to show: a title for each job, empty for a single one, and the command line that shows it.

    Args:
        words: a command line, as `mcl.config.command_line.arrange` returns it.
    """
    flags, overrides = split(words)
    names = {flag.partition("=")[0] for flag in flags}
    if not names & set(SHOW) or not names & MULTIRUN:
        return [("", list(words))]
    flags = [flag for flag in flags if flag not in MULTIRUN]
    parsed = parse(overrides)
    searched = [each for each in parsed if each.is_sweep_override() and not each.is_discrete_sweep()]
    (jobs,) = BasicSweeper.split_arguments([each for each in parsed if each not in searched], max_batch_size=None)
    note = f" (a search chooses {', '.join(each.key_or_group for each in searched)})" if searched else ""
    common = set.intersection(*map(set, jobs))
    titles = [shlex.join(override for override in job if override not in common) for job in jobs]
    return [
        (f"job {number}: {title}{note}" if len(jobs) > 1 or note else "", [*flags, *job, "hydra.mode=MULTIRUN"])
        for number, (title, job) in enumerate(zip(titles, jobs, strict=True))
    ]
