"""Read the files of a run from its folder or from a bundle. Nothing is unpacked."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

from mcl.errors import UserError
from mcl.runs import checkpoints
from mcl.runs.checkpoints import Checkpoints
from mcl.runs.layout import CHECKPOINTS, LAST, LAST_CHECKPOINT

HASHES = "SHA256SUMS"  # file of a bundle: one line "<sha256>  <file>" for every other file


class Folder:
    """A run folder."""

    def __init__(self, path: Path):
        self.path = path

    def read(self, name: str) -> bytes | None:
        """Return the content of a file by its name, such as ``checkpoints/last.pt``; None if there is no such file."""
        file = self.path / name
        try:
            return file.read_bytes() if file.is_file() else None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from error

    def checkpoint(self) -> dict[str, Any] | None:
        """Return the newest intact checkpoint, or None if there is none."""
        return Checkpoints(self.path / CHECKPOINTS).newest()


class Bundle:
    """A file that ``python -m mcl bundle`` wrote.

    Raises:
        UserError: The file is not a bundle, or one of its files does not match the list of hashes.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.files = {name: archive.read(name) for name in archive.namelist()}
            listed = dict(line.split("  ", 1)[::-1] for line in self.files[HASHES].decode().splitlines())
        except Exception as error:  # a damaged archive raises many kinds
            raise UserError(f"{path} is not a bundle of a run, or is damaged: {error}") from error
        actual = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items() if name != HASHES}
        if altered := sorted(name for name in {*actual, *listed} if actual.get(name) != listed.get(name)):
            raise UserError(f"{path} is damaged or was altered: {', '.join(altered)} does not match {HASHES}.")

    def read(self, name: str) -> bytes | None:  # like `Folder.read`
        return self.files.get(name)

    def checkpoint(self) -> dict[str, Any] | None:
        content = self.read(LAST_CHECKPOINT)
        return None if content is None else checkpoints.decode(content, f"{self.path}: {LAST}")


def open_run_source(path: Path) -> Folder | Bundle:
    """Open a run folder or a bundle.

    Raises:
        UserError: The path is neither.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such run folder or file.")
    return Bundle(path)
