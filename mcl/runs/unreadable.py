"""The list of the image files that a run has skipped because they are damaged."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from mcl.runs.layout import UNREADABLE
from mcl.untrusted.limits import MAX_CSV
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.text import printable

log = logging.getLogger(__name__)


def add_unreadable(folder: Path, files: Mapping[str, str]) -> None:
    """Append to ``unreadable.txt`` a line ``PATH: REASON`` for each file that is not there yet.

    Every process of a run may call this. A failure to write is logged: the list is not worth stopping a run.

    Args:
        folder: the run folder.
        files: path -> reason; if empty, no list is made.
    """
    if not files:
        return
    path = folder / UNREADABLE
    try:
        known = set(read_bytes(path, MAX_CSV).decode(errors="replace").splitlines()) if path.exists() else set()
        lines = [
            line for name, reason in sorted(files.items()) if (line := printable(f"{name}: {reason}")) not in known
        ]
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        with os.fdopen(file, "wb", 0) as listed:
            listed.write("".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        log.warning("%s cannot be written (%s)", path, error.strerror)
