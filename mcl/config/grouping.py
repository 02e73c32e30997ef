"""Group names for trackers: runs of one study or one multirun belong together. A group does not change a run."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

GROUP = "MCL_GROUP"  # the environment of whatever starts several runs names them so
LONGEST = 80


@contextmanager
def grouped(name: str | None) -> Iterator[None]:
    """Everything started inside belongs to this group, unless it belongs to one already."""
    if name is None or os.environ.get(GROUP):
        yield
        return
    os.environ[GROUP] = name
    try:
        yield
    finally:
        os.environ.pop(GROUP, None)


def current_group() -> str | None:
    """The group that this process works for; None for a run alone."""
    return os.environ.get(GROUP) or None


def sweep_name(arguments: Sequence[str]) -> str | None:
    """What to call the multirun that was typed: its overrides, so that typed again it is the same. None for one run.

    Args:
        arguments: as typed after ``python train.py``.
    """
    if not any(argument in ("-m", "--multirun", "hydra.mode=MULTIRUN") for argument in arguments):
        return None
    typed = [argument for argument in arguments if "=" in argument and not argument.startswith(("-", "hydra"))]
    name = " ".join(typed) or "multirun"
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 10]}… {hashlib.sha256(name.encode()).hexdigest()[:8]}"
