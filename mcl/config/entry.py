"""The decorator of the entry points: Hydra composes the configuration; user errors are printed as one line."""

import functools
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
from mcl.config.conf_folder import conf_folder
from mcl.config.grouping import grouped, sweep_name
from mcl.config.official_names import in_our_words
from mcl.config.schema import SweepConfig, TrainConfig
from mcl.errors import UserError, causes, did_you_mean
from mcl.files import write_atomically
from mcl.runs.renames import current_overrides

USAGE_ERROR, INTERRUPTED = 1, 130
FULL_ERROR = "HYDRA_FULL_ERROR"
ASKED_FOR_TRACEBACKS = os.environ.get(FULL_ERROR) == "1"  # by whoever started this process
RETURN_FILE = "MCL_RETURN_FILE"  # names the file in which whoever starts this process looks for what the task returned
TOLD_ELSEWHERE = re.compile(  # by a job of Slurm or Ray, of whose errors only the text comes back
    "UserError raised while resolving interpolation: (.*)"
)
SECONDS_TO_TELL = 5.0  # until torchrun notices that the process that tells has ended, and ends the others

logger = logging.getLogger(__name__)


def register() -> None:
    """Make the schema known to Hydra."""
    # Hydra copies its store, with the schemas of all plugins, for every group that --help lists, and changes no copy.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    ConfigStore.instance().store(name="sweep_schema", node=SweepConfig)


def main(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorate a task so that it is an entry point composed from ``conf/<config_name>.yaml``."""

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def job(config: DictConfig) -> Any:
            try:
                returned = task(config)
            except UserError as error:
                if ASKED_FOR_TRACEBACKS or HydraConfig.get().mode is RunMode.MULTIRUN:
                    raise  # the other jobs of a multirun go on
                _exit(str(error), error.status)  # before Hydra repeats the overrides
            try:
                _hand_over(returned)
            except UserError as error:  # the run has finished all the same
                logger.warning("The result is not handed over, but is in the run folder: %s", error.__cause__)
            return returned

        @functools.wraps(task)
        def entry() -> None:
            sys.argv[1:] = current_overrides(sys.argv[1:], announce=os.environ.get("RANK", "0") == "0")
            register()
            run = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)
            try:
                with _exceptions_from_hydra(), grouped(sweep_name(sys.argv[1:])):
                    run()
            except KeyboardInterrupt:
                print("\nInterrupted.", file=sys.stderr)
                sys.exit(INTERRUPTED)
            except Exception as error:
                message = None if ASKED_FOR_TRACEBACKS else explain(error)
                if message is None:
                    raise
                if os.environ.get("RANK", "0") != "0":  # a wrong configuration is so in every process: one tells
                    time.sleep(SECONDS_TO_TELL)
                    sys.exit(USAGE_ERROR)
                _exit(
                    message,
                    next((cause.status for cause in causes(error) if isinstance(cause, UserError)), USAGE_ERROR),
                )

        return entry

    return decorate


def _hand_over(returned: Any) -> None:
    """Write what the task returned, or ``{"exit_status": ...}``, where the launcher looks for it."""
    file = os.environ.get(RETURN_FILE)
    if file and os.environ.get("RANK", "0") == "0":
        write_atomically(file, json.dumps(returned))


@contextmanager
def _exceptions_from_hydra() -> Iterator[None]:
    """Have Hydra hand exceptions over; otherwise it prints tracebacks and exits."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before


def _exit(message: str, status: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr, flush=True)
    with suppress(UserError):
        _hand_over({"exit_status": status})  # torchrun ends with 1 whatever its processes end with
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # where torchrun looks for what to say at the end
        told = {"message": message, "extraInfo": {"py_callstack": message, "timestamp": str(int(time.time()))}}
        with suppress(OSError):
            Path(file).write_text(json.dumps({"message": told}))
    sys.exit(status)


def explain(error: BaseException) -> str | None:
    """What to tell the person at the keyboard, or None when the error is ours and deserves a traceback."""
    chain = causes(error)
    for cause in chain:
        if isinstance(cause, UserError):
            return str(cause)
        if told := TOLD_ELSEWHERE.search(str(cause)):
            return told[1]
    for cause in chain:
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
            missing = str(cause.missing_cfg_file)
            if plugin := extras.missing_plugin(missing):
                return plugin
            if cause.options:
                return _missing_choice(missing, [str(option) for option in cause.options])
        if isinstance(cause, OverrideParseException):
            return f"{cause.override}: not an override of the form option=value. {_one_line(str(cause))}"
        if isinstance(cause, MissingMandatoryValue):
            key = cause.full_key or cause.key
            return f"{key} is not set: give {key}=VALUE."
    for cause in reversed(chain):
        if isinstance(cause, OmegaConfBaseException) and cause.key is not None:
            return _bad_key(cause, chain)
    if any(isinstance(cause, HydraException | OmegaConfBaseException) for cause in chain):
        return _one_line(str(chain[0]))
    for cause in chain:
        if isinstance(cause, yaml.MarkedYAMLError) and cause.problem_mark is not None:
            mark = cause.problem_mark
            return f"{mark.name}, line {mark.line + 1}: not valid YAML: {cause.problem}."
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "null is no choice of a group: give GROUP=NAME, such as pair=resnet8; --help lists the names."
    if isinstance(error, RuntimeError) and str(error).startswith('Could not detect "srun"'):
        return "hydra/launcher=slurm: there is no Slurm on this machine (no srun on PATH)."
    if type(error).__module__.startswith(("submitit.", "ray.")):  # a job was lost, and this says how
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}. (HYDRA_FULL_ERROR=1 shows where this was raised.)"
    return None


def _missing_choice(missing: str, options: list[str]) -> str:
    group, _, name = missing.rpartition("/")
    while group and not (conf_folder() / group).is_dir():  # names such as imagenet/resnet18
        group, _, front = group.rpartition("/")
        name = f"{front}/{name}"
    if group in ("pair", "network") and (answer := in_our_words(name, group)):
        return f"{group}={name}: {answer}"
    return (
        f"{group}={name}: there is no such choice.{did_you_mean(name, options)}"
        f" {group} is one of: {', '.join(sorted(options))}."
    )


def _bad_key(cause: OmegaConfBaseException, chain: list[BaseException]) -> str:
    full_key = str(cause.full_key or cause.key)
    parent = cause.parent_node
    siblings = [str(key) for key in parent] if isinstance(parent, DictConfig) and not parent._is_none() else []
    key = str(cause.key)
    if siblings and key not in siblings:
        siblings = [name for name in siblings if name != "hydra" and not name.startswith("_")]
        return f"{full_key}: there is no such option.{did_you_mean(key, siblings)} Here are: {', '.join(siblings)}."
    composition = [c for c in chain if isinstance(c, ConfigCompositionException)]
    told = str(cause.msg or composition or cause).partition("full_key:")[0]  # which is here already
    return _one_line(f"{full_key}: {told}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
