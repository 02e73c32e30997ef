"""Locate the checkpoint file of a run and read its checksum, without torch."""

from pathlib import Path

LAST = "last.pt"
TITLE = b"sha256 "
SEAL_SIZE = 2 + len(TITLE) + 64  # length of the comment of a zip archive, as zip has it, and the comment


def checkpoint_of(place: Path) -> Path:
    """Return the last checkpoint of a run folder; a file stands for itself."""
    return place / "checkpoints" / LAST if place.is_dir() else place


def read_checksum(path: Path) -> str | None:
    """Return the SHA-256 that a checkpoint says it has, read from its end; None if there is no such file or checksum.

    Two checkpoints with the same checksum hold the same weights, wherever they lie.
    """
    try:
        with open(path, "rb") as file:
            file.seek(-SEAL_SIZE, 2)
            end = file.read()
    except OSError:  # also of a file that is shorter
        return None
    title = end[2 : 2 + len(TITLE)]
    return end[-64:].decode("ascii", errors="replace") if title == TITLE else None
