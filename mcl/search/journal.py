"""The journal file of a search, which survives processes that are killed and disks that are full while they write."""

import os
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend

from mcl.errors import UserError

BEGINNING = b'{"op_code":'  # of every line


class Journal(JournalFileBackend):
    """A journal file that cuts off what is left of an interrupted write before it writes itself.

    Optuna cannot read a journal with such a fragment between two lines.

    Args:
        place: path of the file.

    Raises:
        UserError: the file is not a journal.
    """

    def __init__(self, place: str):
        # Optuna's own lock would outlive a killed process by half a minute.
        self._process_lock = FileLock(f"{place}.lock")
        with self._process_lock:
            _check(Path(place))
            super().__init__(place, self._process_lock)  # type: ignore[arg-type]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines."""
        with self._process_lock:  # another process may be writing
            _cut_fragment(Path(self._file_path))
            super().append_logs(logs)


def _check(journal: Path) -> None:
    """Raise UserError unless a file is missing, empty, or begins as journals do."""
    if not journal.exists():
        return
    with open(journal, "rb") as file:
        begins = file.read(len(BEGINNING))
    if not BEGINNING.startswith(begins):
        raise UserError(
            f"hydra.sweeper.storage={journal}: this file is not a journal of a search, so it was left as it is. Give"
            " the path of another file, or the URL of a database, such as sqlite:///search.db."
        )


def _cut_fragment(journal: Path) -> None:
    """Cut off the last line of a file if it has no end."""
    with open(journal, "r+b") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
