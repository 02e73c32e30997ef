"""Locate the checkpoint file of a run and read its checksum, without torch."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcl.files import expand_home
from mcl.runs.layout import LAST_CHECKPOINT
from mcl.untrusted.limits import MAX_NETWORK
from mcl.untrusted.regular_files import open_file, read_bytes

TITLE = b"sha256 "
COMMENT_SIZE = 2 + len(TITLE) + 64  # the comment of a zip archive, after its length in two bytes


def checkpoint_of(place: Path) -> Path:
    """Return the last checkpoint of a run folder; a path that is not a folder is returned. ``~`` is expanded."""
    place = expand_home(place)
    return place / LAST_CHECKPOINT if place.is_dir() else place


def expand_places(places: Any) -> Any:
    """Return ``init_from``, a place or a mapping of places, with the home folder in place of each ``~``."""
    if isinstance(places, Mapping):
        return {key: expand_places(place) for key, place in places.items()}
    return None if places is None else os.path.expanduser(places)


def read_checksum(path: Path) -> str | None:
    """Return the SHA-256 at the end of a checkpoint file; None if there is no such file or checksum.

    Two checkpoints with the same checksum hold the same weights, wherever they lie. A safetensors file has no checksum
    of its own; its whole content is hashed.

    Raises:
        UserError: It is not a regular file, or is too large.
    """
    try:
        if path.suffix == ".safetensors":
            return hashlib.sha256(read_bytes(path, MAX_NETWORK)).hexdigest()
        with open_file(path, MAX_NETWORK) as file:
            file.seek(-COMMENT_SIZE, 2)
            comment = file.read()
    except OSError:  # also raised for a file shorter than the comment
        return None
    title = comment[2 : 2 + len(TITLE)]
    return comment[-64:].decode("ascii", errors="replace") if title == TITLE else None
