"""Errors for the user."""

import difflib
import os
import re
import traceback
from collections.abc import Iterable, Sequence

# Of this module too: what the launcher of jobs, which does not know this project, has to understand.
from hydra_gpu_launcher.errors import IN_USE, OUT_OF_MEMORY, causes, is_out_of_memory  # noqa: F401


class UserError(ValueError):
    """Invalid input. The message says what was given, what is allowed and what to type.

    The entry points print it without a traceback and exit with its ``status``.
    """

    status: int = 1


class ImagesNotFound(UserError):
    """The place that should hold the images does not exist."""


def nearest(given: str, allowed: Iterable[object], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the allowed names that are most similar to a given one, at most ``count``; case is ignored.

    Names that contain the given one count as similar, unless ``cutoff``, from 0 to 1, is above its default.

    >>> nearest("MCL", ["lmcl", "mcl"]), nearest("mnist", ["digits", "fashion_mnist"]), nearest("x", ["lr"])
    (['mcl'], ['fashion_mnist'], [])
    """
    names = [str(name) for name in allowed]
    lower = str(given).lower()
    same = [name for name in names if lower in (name.lower(), name.lower().rpartition("/")[2])]
    close = difflib.get_close_matches(lower, [name.lower() for name in names], n=count, cutoff=cutoff)
    longer = [name for name in names if len(lower) > 2 and cutoff <= 0.6 and lower in name.lower()]
    longer.sort(key=lambda name: lower not in re.split("[-_/]", name.lower()))  # whole words first
    similar = [name for each in close for name in names if name.lower() == each]
    return list(dict.fromkeys(same or [*similar, *longer]))[:count]


def did_you_mean(given: str, allowed: Iterable[object], count: int = 1) -> str:
    """Return ``" Did you mean 'resnet32'?"``; empty if no allowed name is similar."""
    near = nearest(given, allowed, count)
    return f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def unknown(kind: str, given: str, allowed: Iterable[object]) -> UserError:
    """Make the error for a name that does not exist, with the nearest one that does.

    Args:
        kind: kind of the name (``"option"``).
        given: the given text; the part after the last ``.`` or ``=`` is the name.
        allowed: the names that exist.
    """
    names = [str(name) for name in allowed]
    near = did_you_mean(re.split("[.=]", given)[-1], names)
    return UserError(f"{given}: there is no such {kind}.{near} Known: {', '.join(names) or 'none'}.")


def check_choice(option: str, value: object, allowed: Sequence[str]) -> None:
    """Check the value of an option that has names.

    Raises:
        UserError: There is no such value; the message names those that there are.
    """
    if value not in allowed:
        raise UserError(f"{option}={value}: expected one of {', '.join(allowed)}.{did_you_mean(str(value), allowed)}")


def locate(error: BaseException) -> str:
    """Return where an error arose and its message on one line: ``my_parts.py, line 12: NameError: ...``."""
    message = " ".join(str(error).split())
    if isinstance(error, SyntaxError) and error.filename:
        return f"{os.path.basename(error.filename)}, line {error.lineno}: {error.msg}"
    frames = list(traceback.walk_tb(error.__traceback__))
    place = f"{os.path.basename(frames[-1][0].f_code.co_filename)}, line {frames[-1][1]}: " if frames else ""
    return f"{place}{type(error).__name__}: {message}"


def raised_below(error: BaseException, folder: str) -> bool:
    """Return whether the line that raised an error is in a file below a folder."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and os.path.abspath(frames[-1][0].f_code.co_filename).startswith(os.path.join(folder, ""))
