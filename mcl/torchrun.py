"""Read what torchrun tells each of its processes, by environment variables."""

import os


def world_size() -> int:
    """Return the number of processes that train one run together; 1 without torchrun."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return _number("RANK", 0) if world_size() > 1 else 0  # in pods of a cluster, RANK may be set without torchrun


def local_world_size() -> int:
    """Return the number of them on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


def local_rank() -> int:
    """Return the number of this process among those on this machine, from 0."""
    return _number("LOCAL_RANK", 0)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")  # some clusters set it to nothing
    return int(text) if text.isdigit() else default
