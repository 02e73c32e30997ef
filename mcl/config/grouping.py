"""Group names for trackers: the runs of one study or multirun belong together. A group does not change a run."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

GROUP = "MCL_GROUP"  # environment variable, inherited by every process that is started for the group
MAX_LENGTH = 80


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable within the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def grouped(name: str | None) -> AbstractContextManager[None]:
    """Put everything started within the block into a group, unless it belongs to one already."""
    return nullcontext() if name is None or current_group() else environment(GROUP, name)


def current_group() -> str | None:
    """Return the group of this process; None for a run alone."""
    return os.environ.get(GROUP) or None


def sweep_name(arguments: Sequence[str]) -> str | None:
    """Name a multirun by its overrides, so that the same command has the same name; None for a single run.

    Args:
        arguments: command-line arguments of ``python train.py``.
    """
    if not any(argument in ("-m", "--multirun", "hydra.mode=MULTIRUN") for argument in arguments):
        return None
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith(("-", "hydra"))]
    name = " ".join(overrides) or "multirun"
    if len(name) <= MAX_LENGTH:
        return name
    return f"{name[: MAX_LENGTH - 10]}… {hashlib.sha256(name.encode()).hexdigest()[:8]}"
