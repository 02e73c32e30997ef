"""Check every job of a multirun before the first one starts."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from mcl.config.command_line import parse

_MULTIRUN = ("-m", "--multirun")
_CHECKED_THERE = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.mode")  # or unknown yet


def check_jobs(words: Sequence[str]) -> None:
    """Compose the jobs of ``train.py -m`` that Hydra's own sweeper and launcher would run one after another.

    Launchers that start several jobs at a time check them themselves; those of a search are not known before.

    Args:
        words: the command line, as `mcl.config.command_line.arrange` returns it.

    Raises:
        UserError: a job has a wrong setting.
    """
    flags = [word for word in words if word.startswith("-")]
    if not any(flag in _MULTIRUN for flag in flags) or any(flag not in _MULTIRUN for flag in flags):
        return
    parsed = parse([word for word in words if not word.startswith("-")])
    if any(override.key_or_group.startswith(_CHECKED_THERE) for override in parsed):
        return
    from mcl.config.compose import composing  # imports the entry point
    from mcl.config.loader import Progress
    from mcl.console import announced

    (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    if len(jobs) == 1:
        return
    progress = Progress(len(jobs))
    with announced(f"checking the settings of {len(jobs)} jobs"), composing() as compose_one:
        for job in jobs:
            compose_one(job)
            progress.advance()
