"""Errors for the user."""

import difflib
import re
from collections.abc import Iterable

IN_USE = 69  # exit status (EX_UNAVAILABLE of sysexits.h): another process works in the run folder


class UserError(ValueError):
    """Something given from outside cannot work. The message says what was given, what is allowed and what to change.

    The entry points print it without a traceback and exit with its ``status``.
    """

    status: int = 1


def did_you_mean(given: str, allowed: Iterable[object], count: int = 1) -> str:
    """``" Did you mean 'resnet32'?"``, or nothing when no allowed name is near."""
    near = difflib.get_close_matches(str(given), [str(name) for name in allowed], n=count, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def unknown(kind: str, given: str, allowed: Iterable[object]) -> UserError:
    """Make the error for a name that does not exist, with the nearest one that does.

    Args:
        kind: what is named (``"option"``).
        given: as typed; the part after the last ``.`` or ``=`` is the name.
        allowed: the names that exist.
    """
    names = [str(name) for name in allowed]
    near = did_you_mean(re.split("[.=]", given)[-1], names)
    return UserError(f"{given}: there is no such {kind}.{near} Known: {', '.join(names) or 'none'}.")


def causes(error: BaseException) -> list[BaseException]:
    """An error, what it was raised from or while handling, and so on back to the first."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain
