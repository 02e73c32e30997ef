"""The decorator of entry points: Hydra composes the configuration; user errors are printed as one line."""

import functools
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from mcl import extras
from mcl.config import new_folders
from mcl.config.conf_folder import conf_folder
from mcl.config.grouping import environment, grouped, sweep_name
from mcl.config.official_names import in_our_words
from mcl.config.schema import SweepConfig, TrainConfig
from mcl.errors import UserError, causes, unknown
from mcl.files import write_atomically
from mcl.runs.renames import current_overrides
from mcl.signals import EXIT_STATUS, Stopped, program_signals, report_stop

USAGE_ERROR, INTERRUPTED = 1, 130
FULL_ERROR = "HYDRA_FULL_ERROR"
ASKED_FOR_TRACEBACKS = os.environ.get(FULL_ERROR) == "1"  # set by the user, not by this module
RETURN_FILE = "MCL_RETURN_FILE"  # names the file in which a launcher looks for what the task returned
REPORTED_BY_A_JOB = re.compile(  # only the text of an error comes back from jobs of Slurm and Ray
    "UserError raised while resolving interpolation: (.*)"
)
SECONDS_TO_REPORT = 5.0  # until torchrun notices that the reporting process has ended, and ends the others

logger = logging.getLogger(__name__)


def register() -> None:
    """Register the schemas with Hydra."""
    # Hydra copies its store, with the schemas of all plugins, for every group that --help lists; it changes no copy.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    ConfigStore.instance().store(name="sweep_schema", node=SweepConfig)


def main(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Return a decorator that makes a task an entry point configured by ``conf/<config_name>.yaml``."""

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def job(config: DictConfig) -> Any:
            try:
                returned = task(config)
            except UserError as error:
                if ASKED_FOR_TRACEBACKS or HydraConfig.get().mode is RunMode.MULTIRUN:
                    raise  # the other jobs of a multirun continue
                _exit(str(error), error.status)  # before Hydra repeats the overrides
            try:
                _write_return_file(returned)
            except UserError as error:  # the run has finished all the same
                logger.warning("The result could not be returned, but is in the run folder: %s", error.__cause__)
            return returned

        @functools.wraps(task)
        def entry() -> None:
            signals = program_signals()
            signals.cleanups.append(new_folders.remove_empty)
            sys.argv[1:] = current_overrides(sys.argv[1:], announce=_first_process())
            register()
            run = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)
            try:
                # With FULL_ERROR set, Hydra raises exceptions; otherwise it prints tracebacks and exits.
                with environment(FULL_ERROR, "1"), grouped(sweep_name(sys.argv[1:])):
                    run()
            except Stopped as stop:
                if _first_process():
                    report_stop(stop)
                    _write_exit_status(EXIT_STATUS[stop.name])
                raise
            except KeyboardInterrupt:
                print("\nInterrupted.", file=sys.stderr)
                sys.exit(INTERRUPTED)
            except Exception as error:
                message = None if ASKED_FOR_TRACEBACKS else explain(error)
                if message is None:
                    raise
                if not _first_process():  # a wrong configuration is wrong in every process: the first one reports it
                    time.sleep(SECONDS_TO_REPORT)
                    sys.exit(USAGE_ERROR)
                statuses = [cause.status for cause in causes(error) if isinstance(cause, UserError)]
                _exit(message, statuses[0] if statuses else USAGE_ERROR)
            finally:
                signals.clean_up()

        return entry

    return decorate


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _write_return_file(returned: Any) -> None:
    """Write what the task returned, or ``{"exit_status": ...}``, where the launcher looks for it."""
    file = os.environ.get(RETURN_FILE)
    if file and _first_process():
        write_atomically(file, json.dumps(returned))


def _write_exit_status(status: int) -> None:
    with suppress(UserError):
        _write_return_file({"exit_status": status})  # torchrun exits with 1 whatever its processes exit with


def _exit(message: str, status: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr, flush=True)
    _write_exit_status(status)
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # torchrun prints its message at the end
        report = {"message": message, "extraInfo": {"py_callstack": message, "timestamp": str(int(time.time()))}}
        with suppress(OSError):
            Path(file).write_text(json.dumps({"message": report}))
    sys.exit(status)


def explain(error: BaseException) -> str | None:
    """Return the message for the user, or None if the error is a bug and deserves a traceback."""
    chain = causes(error)
    for cause in chain:
        if isinstance(cause, UserError):
            return str(cause)
        if reported := REPORTED_BY_A_JOB.search(str(cause)):
            return reported[1]
    for cause in chain:
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
            if plugin := extras.missing_plugin(str(cause.missing_cfg_file)):
                return plugin
            if cause.options:
                return _explain_choice(str(cause.missing_cfg_file), cause.options)
        if isinstance(cause, OverrideParseException):
            return f"{cause.override}: not an override of the form option=value. {_one_line(cause)}"
        if isinstance(cause, MissingMandatoryValue):
            key = cause.full_key or cause.key
            return f"{key} is not set: give {key}=VALUE."
        if isinstance(cause, yaml.MarkedYAMLError) and cause.problem_mark is not None:
            return f"{cause.problem_mark.name}, line {cause.problem_mark.line + 1}: not valid YAML: {cause.problem}."
    for cause in reversed(chain):
        if isinstance(cause, OmegaConfBaseException) and cause.key is not None:
            return _explain_key(cause, chain)
    if any(isinstance(cause, HydraException | OmegaConfBaseException) for cause in chain):
        return _one_line(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "null is not a choice of a group: give GROUP=NAME, such as pair=resnet8; --help lists the names."
    if isinstance(error, RuntimeError) and str(error).startswith('Could not detect "srun"'):
        return "hydra/launcher=slurm: there is no Slurm on this machine (no srun on PATH)."
    if type(error).__module__.startswith(("submitit.", "ray.")):  # a job was lost; the text says how
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}. (HYDRA_FULL_ERROR=1 shows where this was raised.)"
    return None


def _explain_choice(missing: str, options: Sequence[str]) -> str:
    group, _, name = missing.rpartition("/")
    while group and not (conf_folder() / group).is_dir():  # names such as imagenet/resnet18
        group, _, folder = group.rpartition("/")
        name = f"{folder}/{name}"
    if group in ("pair", "network") and (answer := in_our_words(name, group)):
        return f"{group}={name}: {answer}"
    return str(unknown("choice", f"{group}={name}", sorted(options)))


def _explain_key(cause: OmegaConfBaseException, chain: list[BaseException]) -> str:
    full_key = str(cause.full_key or cause.key)
    parent = cause.parent_node
    siblings = [str(key) for key in parent] if isinstance(parent, DictConfig) and not parent._is_none() else []
    if siblings and str(cause.key) not in siblings:
        return str(unknown("option", full_key, (key for key in siblings if key != "hydra" and not key.startswith("_"))))
    composition = [c for c in chain if isinstance(c, ConfigCompositionException)]
    return _one_line(f"{full_key}: {str(cause.msg or composition or cause).partition('full_key:')[0]}")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
