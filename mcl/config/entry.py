"""The decorator of the entry point: Hydra composes the configuration; user errors are printed as one line."""

import functools
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from hydra_gpu_launcher.guard import RETURN_FILE
from mcl.config import new_folders
from mcl.config.check_jobs import check_jobs
from mcl.config.command_line import arrange
from mcl.config.conf_folder import conf_folder, own_conf_flags
from mcl.config.explain import explain, one_line_for_own_modules
from mcl.config.grouping import environment_variable, grouped, multirun_name, swept_options
from mcl.config.schema import register
from mcl.config.shown_jobs import shown_jobs
from mcl.errors import OUT_OF_MEMORY, UserError, causes, is_out_of_memory
from mcl.files import WriteError, write_atomically
from mcl.program import is_first_process
from mcl.runs.renames import current_overrides
from mcl.signals import EXIT_STATUS, Stopped, program_signals, report_stop

USAGE_ERROR, INTERRUPTED = 1, 130
FULL_ERROR = "HYDRA_FULL_ERROR"
ASKED_FOR_TRACEBACKS = os.environ.get(FULL_ERROR) == "1"  # set by the user, not by this module
SECONDS_TO_REPORT = 5.0  # until torchrun notices that the reporting process has ended, and ends the others

logger = logging.getLogger(__name__)


def main(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """Make a task an entry point configured by ``conf/train.yaml``."""

    @functools.wraps(task)
    def job(config: DictConfig) -> Any:
        try:
            with one_line_for_own_modules(unless=ASKED_FOR_TRACEBACKS):
                returned = task(config)
        except UserError as error:
            if ASKED_FOR_TRACEBACKS or HydraConfig.get().mode is RunMode.MULTIRUN:
                raise  # the other jobs of a multirun continue
            elsewhere = " Or choose another folder with hydra.run.dir=FOLDER." if isinstance(error, WriteError) else ""
            _exit(f"{error}{elsewhere}", _status(error))  # before Hydra repeats the overrides
        try:
            _write_return_file(returned)
        except UserError as error:  # the run has finished all the same
            logger.warning("The result could not be returned, but is in the run folder: %s", error.__cause__)
        return returned

    @functools.wraps(task)
    def entry() -> None:
        signals = program_signals()
        signals.cleanups.append(new_folders.remove_empty)
        register()
        run = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")(job)
        try:
            _run_command_line(run)
        except Stopped as stop:
            if is_first_process():
                report_stop(stop)
                _write_exit_status(EXIT_STATUS[stop.name])
            raise
        except KeyboardInterrupt:
            print("\nInterrupted.", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except Exception as error:
            _exit_if_explained(error)
            raise
        finally:
            signals.clean_up()

    return entry


def _run_command_line(run: Callable[[], None]) -> None:
    """Check the words of the command line, and run what they ask for with Hydra."""
    words = current_overrides(arrange(sys.argv[1:]), announce=is_first_process())
    group = multirun_name(words)
    # With FULL_ERROR set, Hydra raises exceptions; otherwise it prints tracebacks and exits.
    with environment_variable(FULL_ERROR, "1"), grouped(group, swept_options(words) if group else ()):
        check_jobs(words)
        for title, arguments in shown_jobs(words):
            print(f"# {title}\n" if title else "", end="")
            sys.argv[1:] = [*own_conf_flags(words), *arguments]
            run()


def _exit_if_explained(error: Exception) -> None:
    """Print the message of an error and exit; return if it has none, so that it deserves a traceback."""
    message = None if ASKED_FOR_TRACEBACKS else explain(error, sys.argv[1:])
    if message is None:
        if is_out_of_memory(error):
            _write_exit_status(OUT_OF_MEMORY)
        return
    if is_out_of_memory(error):  # in any process: the others only see that it is gone
        _exit(message, OUT_OF_MEMORY)
    if not is_first_process():  # a wrong configuration is wrong in every process: the first one reports it
        time.sleep(SECONDS_TO_REPORT)
        sys.exit(USAGE_ERROR)
    _exit(message, _status(error))


def _status(error: BaseException) -> int:
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return next((cause.status for cause in causes(error) if isinstance(cause, UserError)), USAGE_ERROR)


def _write_return_file(returned: Any) -> None:
    """Write what the task returned, or ``{"exit_status": ...}``, where the launcher looks for it."""
    file = os.environ.get(RETURN_FILE)
    if file and is_first_process():
        write_atomically(file, json.dumps(returned))


def _write_exit_status(status: int) -> None:
    """Write the status for the launcher: torchrun exits with 1 whatever its processes exit with.

    The first process writes it or, before that one notices anything, the one that ran out of memory.
    """
    file = os.environ.get(RETURN_FILE)
    if file and (status == OUT_OF_MEMORY or (is_first_process() and not os.path.exists(file))):
        with suppress(UserError):
            write_atomically(file, json.dumps({"exit_status": status}))


def _exit(message: str, status: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr, flush=True)
    _write_exit_status(status)
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # torchrun prints its message at the end
        report = {"message": message, "extraInfo": {"py_callstack": message, "timestamp": str(int(time.time()))}}
        with suppress(OSError):
            Path(file).write_text(json.dumps({"message": report}))
    sys.exit(status)
