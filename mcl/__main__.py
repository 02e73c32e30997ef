"""``mcl COMMAND`` or ``python -m mcl COMMAND``. Each command is one module of ``mcl.commands``.

``train`` and ``sweep`` read their arguments with Hydra. Each other module has ``HELP`` (one line),
``add_arguments(parser)`` and ``run(arguments) -> int``, the exit status. It imports torch and other large packages
inside ``run``, so that ``--help`` is fast.
"""

import os
import select
import sys

from mcl.signals import EXIT_STATUS, Stopped, catch_stop_signals, program_signals, report_stop

if __name__ == "__main__":
    catch_stop_signals()  # before the other imports

import argparse
import importlib
import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from mcl import __version__
from mcl.errors import UserError, did_you_mean, unknown
from mcl.program import program
from mcl.untrusted.text import on_terminal

PROGRAMS = {  # command line of Hydra -> its line in the overview
    "train": "Train networks that teach each other, or one alone. The same as train.py of a checkout.",
    "sweep": "Run a study: plan it, launch its runs, report. The same as sweep.py of a checkout.",
}
COMMANDS = {  # command -> its module, imported only when needed
    "init": "init",
    "inspect": "inspect",
    "networks": "networks",
    "import": "import_official",
    "evaluate": "evaluate",
    "probe": "probe",
    "export": "export",
    "latency": "latency",
    "predict": "predict",
    "bundle": "bundle",
    "release": "release",
    "push": "push",
    "report": "report",
    "sync": "sync",
    "dashboard": "dashboard",
    "benchmark": "benchmark",
}
DISTRIBUTION = "mcl-torch"  # the name that pip knows
COMPLETION = ("-sc", "--shell-completion")
USAGE_ERROR, INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: arguments of ``python -m mcl``; None reads the command line.

    Returns:
        The exit status: 1 for a mistake of the user, which is printed without a traceback unless
        ``HYDRA_FULL_ERROR=1``.
    """
    if arguments is None:
        catch_stop_signals()
    typed = sys.argv[1:] if arguments is None else list(arguments)
    if not typed or typed[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if typed[0] in ("-V", "--version"):
        print(f"{DISTRIBUTION} {__version__}")
        return 0
    if typed[0] in PROGRAMS or typed[0] in COMPLETION:
        return _start(typed)
    try:
        return _run(typed[0], typed[1:])
    except Stopped as stop:
        report_stop(stop)
        return EXIT_STATUS[stop.name]
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        if not _reader_has_ended():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left for the exit to write
        return USAGE_ERROR
    except (UserError, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or (isinstance(error, OSError) and error.filename is None):
            raise
        message = str(error) if isinstance(error, UserError) else f"{error.filename}: {error.strerror}"
        print(f"error: {on_terminal(message)}", file=sys.stderr)
        return error.status if isinstance(error, UserError) else USAGE_ERROR


def _reader_has_ended() -> bool:
    """Return whether nobody reads the output any more, as after `head`."""
    if not hasattr(select, "poll"):  # Windows
        return True
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors are always reported
    return bool(output.poll(0))


def _start(typed: list[str]) -> int:
    """Run what reads its own arguments; it reports its own errors."""
    name, *arguments = typed
    if name in COMPLETION:
        from mcl.commands.completion import complete

        return complete(typed, [*PROGRAMS, *COMMANDS])
    from mcl.commands.train import run

    if name == "sweep":
        from mcl.commands.sweep import main as sweep

        return sweep(inspect.unwrap(run), arguments)
    sys.argv[1:] = arguments
    run()
    return 0


class _Parser(argparse.ArgumentParser):
    """Mistakes become one line, as everywhere, with the nearest option of the command."""

    def error(self, message: str) -> NoReturn:
        near = ""
        if message.startswith("unrecognized arguments: "):
            word = message.partition(": ")[2].split()[0].partition("=")[0]
            options = [option for action in self._actions for option in action.option_strings]
            near = did_you_mean(word, options)
        raise UserError(f"{self.prog}: {message}.{near} See {self.prog} --help.")


def _run(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        raise unknown("command", name, [*PROGRAMS, *COMMANDS])
    module = _module(name)
    parser = _Parser(
        prog=f"python -m mcl {name}",
        description=module.HELP,
        epilog=getattr(module, "EPILOG", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parsed = parser.parse_intermixed_args(arguments)
    signals = program_signals()
    signals.at_once = False
    status = module.run(parsed)
    signals.at_once = True
    assert isinstance(status, int)
    return status


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"mcl.commands.{COMMANDS[name]}")


def _overview() -> str:
    helps = PROGRAMS | {name: _module(name).HELP for name in COMMANDS}
    width = max(map(len, helps))
    lines = [f"  {name:{width}}  {text}" for name, text in helps.items()]
    more = f"python -m mcl COMMAND --help explains one. To train: {program('train')} --help"
    return "\n".join(["usage: python -m mcl COMMAND [options]", "", *lines, "", more])


if __name__ == "__main__":
    sys.exit(main())
