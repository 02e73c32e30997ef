"""``python train.py`` and ``mcl train``: train a cohort of networks that teach each other. `train` is for programs."""

import copy
import os
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig

from mcl.config import new_folders, objective
from mcl.config.absolute_paths import with_absolute_paths
from mcl.config.checks import check_config
from mcl.config.compose import explained
from mcl.config.entry import main
from mcl.errors import UserError
from mcl.runs.summary import intact_summary
from mcl.signals import program_signals


@main
def run(config: DictConfig) -> float | list[float] | None:
    """Run a configuration, resume it, or report its result if it is finished.

    Returns:
        The ``objective`` of a search, accuracies in percent; None without a validation split, or if it was pruned.
    """
    summary = _fit(config)
    return None if "pruned_after" in summary else objective.value(summary, config.objective)


def train(config: DictConfig) -> dict[str, Any]:
    """Train a configuration inside a program, resume it, or return its result if it is finished.

    Examples:
        >>> import mcl
        >>> config = mcl.compose("train", ["dataset=digits", "trainer.max_steps=1", "tracking=none"])
        >>> summary = mcl.train(config)  # doctest: +SKIP

    Args:
        config: what `mcl.compose` returned; options may have been changed since. It stays as it is.

    Returns:
        The content of ``summary.json`` (accuracies in percent), and the run folder as ``"folder"``. Of a run that a
        search has pruned, ``"pruned_after"``, the last epoch, takes the place of the former.

    Raises:
        UserError: a setting is wrong, or the run folder holds another run or is in use.
        Stopped: a signal arrived; a checkpoint was saved. The same call resumes the run.
    """
    if "hydra" not in config:
        raise UserError('mcl.train takes a configuration of mcl.compose("train", [...]), which has a part named hydra.')
    config = copy.deepcopy(config)
    context = HydraContext(ConfigLoaderImpl(ConfigSearchPathImpl()), Callbacks())  # nothing is composed or called
    signals = program_signals()
    signals.cleanups.append(new_folders.remove_empty)
    try:
        with explained():
            folder = os.path.abspath(str(config.hydra.run.dir))  # resolving it checks the settings
            new_folders.make(folder)
            done = run_job(_fit, config, "hydra.run.dir", None, context, configure_logging=False)
            if done.status is JobStatus.FAILED:
                raise done._return_value  # done.return_value would print the overrides first
            return {**(intact_summary(Path(folder)) or done.return_value), "folder": folder}
    finally:
        signals.clean_up()


def _fit(config: DictConfig) -> dict[str, Any]:
    """Train, resume or report, and return the summary."""
    hydra = HydraConfig.get()
    if hydra.job.chdir:  # paths are those of the folder in which the command was typed
        config = with_absolute_paths(config, hydra.runtime.cwd)
    # torch is imported only for a run that has not finished: wrong settings or a result must not wait for it.
    from mcl.tracking.summary_table import print_summary
    from mcl.training.finished import finished_summary

    if (summary := finished_summary(config)) is not None:
        print_summary(summary, hydra.runtime.output_dir)
        if config.trainer.export is not None:
            from mcl.deploy.export import export_best

            export_best(Path(hydra.runtime.output_dir), config)
        return summary

    check_config(config)  # hydra.run.dir=FOLDER skips the checks that come with naming a folder

    from mcl.deploy.export import export_best
    from mcl.training.pruning import Pruned, Pruner
    from mcl.training.run import Run
    from mcl.training.setup import assemble

    try:
        with Run(config) as run:
            if not run.finished:
                parts = assemble(config)
                pruner: Pruner | None = None
                if config.trial is not None and run.processes.first:
                    from mcl.search.trial_reports import TrialPruner

                    pruner = TrialPruner(config.trial, config.objective, parts.deployed, hydra.runtime.cwd)
                run.announce(parts)
                run.fit(parts, parts.dataset.load(), pruner)
                run.finish(export_best(run.path, config) if run.processes.first else ())
            elif run.processes.first:
                export_best(run.path, config)
            return run.report()
    except Pruned as pruned:
        return {"pruned_after": pruned.epoch}
