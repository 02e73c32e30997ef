"""Locate the checkpoint file of a run and read its checksum, without torch."""

import hashlib
from pathlib import Path

from mcl.runs.layout import LAST_CHECKPOINT
from mcl.untrusted.limits import MAX_NETWORK
from mcl.untrusted.regular_files import read_bytes

TITLE = b"sha256 "
SEAL_SIZE = 2 + len(TITLE) + 64  # the comment of a zip archive, after its length in two bytes


def checkpoint_of(place: Path) -> Path:
    """Return the last checkpoint of a run folder; a path that is not a folder is returned as it is."""
    return place / LAST_CHECKPOINT if place.is_dir() else place


def read_checksum(path: Path) -> str | None:
    """Return the SHA-256 at the end of a checkpoint file; None if there is no such file or checksum.

    Two checkpoints with the same checksum hold the same weights, wherever they lie. A safetensors file has no checksum
    of its own; its whole content is hashed.
    """
    try:
        if path.suffix == ".safetensors":
            return hashlib.sha256(read_bytes(path, MAX_NETWORK)).hexdigest()
        with open(path, "rb") as file:
            file.seek(-SEAL_SIZE, 2)
            seal = file.read()
    except OSError:  # also raised for a file shorter than the seal
        return None
    title = seal[2 : 2 + len(TITLE)]
    return seal[-64:].decode("ascii", errors="replace") if title == TITLE else None
