"""Group names for trackers: the runs of one study or multirun belong together. A group does not change a run."""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from mcl.console import shortened
from mcl.runs.secret_values import without_secrets

GROUP = "MCL_GROUP"  # environment variable, inherited by every process that is started for the group
VARIED = "MCL_VARIED"  # likewise: the options that differ between its runs, with spaces in between
MAX_LENGTH = 80
CONFIG_FLAGS = ("--config-", "-cd", "-cn", "-cp")  # of Hydra, with values: other configurations, another group


@contextmanager
def environment_variable(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable inside the block, or remove it for None; restore it afterwards."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


@contextmanager
def grouped(name: str | None, varied: Collection[str] = ()) -> Iterator[None]:
    """Put everything started within the block into a group, unless it belongs to one already.

    Args:
        name: of the group; None for no group.
        varied: the options that differ between its runs.
    """
    with ExitStack() as stack:
        if name is not None and not current_group():
            stack.enter_context(environment_variable(GROUP, name))
        if name is not None and not varied_options():
            stack.enter_context(environment_variable(VARIED, " ".join(varied)))
        yield


def current_group() -> str | None:
    """Return the group of this process; None for a run alone."""
    return os.environ.get(GROUP) or None


def varied_options() -> list[str]:
    """Return the options that differ between the runs of the group, such as ``["loss", "seed"]``."""
    return os.environ.get(VARIED, "").split()


def option(override: str) -> str:
    """Return the option of an override: ``loss`` of ``+loss=mcl``."""
    return override.lstrip("+~").partition("=")[0]


def swept_options(arguments: Sequence[str]) -> list[str]:
    """Return the options with several values in a command line of ``-m``; empty if it cannot be parsed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        parsed = OverridesParser.create().parse_overrides(_overrides(arguments))
    except OverrideParseException:
        return []  # Hydra reports it
    return [option(str(each.input_line)) for each in parsed if each.is_sweep_override()]


def multirun_name(arguments: Sequence[str]) -> str | None:
    """Name a multirun by its overrides, what varies first, so that the same command has the same name.

    Args:
        arguments: as typed after ``python train.py``.

    Returns:
        The name; None for a single run.
    """
    if not any(argument in ("-m", "--multirun", "hydra.mode=MULTIRUN") for argument in arguments):
        return None
    swept = swept_options(arguments)
    overrides = sorted(_overrides(arguments), key=lambda override: option(override) not in swept)
    flags = [
        " ".join(arguments[i : i + 1 + ("=" not in argument)])
        for i, argument in enumerate(arguments)
        if argument.startswith(CONFIG_FLAGS)
    ]
    return shortened(" ".join([*without_secrets(overrides), *flags]) or "multirun", MAX_LENGTH)


def short_options(options: Collection[str]) -> dict[str, str]:
    """Return the shortest end of each option that no other one has: ``vcl`` for ``loss.weights.vcl``."""
    parts = {each: each.split(".") for each in options}
    short = {}
    for each, own in parts.items():
        others = [other for name, other in parts.items() if name != each]
        length = next(n for n in range(1, len(own) + 1) if n == len(own) or all(own[-n:] != o[-n:] for o in others))
        short[each] = ".".join(own[-length:])
    return short


def _overrides(arguments: Sequence[str]) -> list[str]:
    return [argument for argument in arguments if "=" in argument and not argument.startswith(("-", "hydra"))]
