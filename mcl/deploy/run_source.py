"""Read the files of a run from its folder or from a bundle. Nothing is unpacked."""

import hashlib
import zipfile
from pathlib import Path
from typing import Protocol

from mcl.errors import UserError

HASHES = "SHA256SUMS"  # of a bundle: one line "<sha256>  <file>" for every other file in it


class Place(Protocol):
    """Files by their names in a run folder, such as ``checkpoints/last.pt``."""

    path: Path

    def read(self, name: str) -> bytes | None:
        """What is in a file, or None where there is none."""
        ...


class Folder:
    """A run folder."""

    def __init__(self, path: Path):
        self.path = path

    def read(self, name: str) -> bytes | None:
        file = self.path / name
        try:
            return file.read_bytes() if file.is_file() else None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from error


class Bundle:
    """The file that ``python -m mcl bundle`` makes.

    Raises:
        UserError: it is no such file, or something in it is not as its list of hashes says.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.files = {name: archive.read(name) for name in archive.namelist()}
            listed = dict(line.split("  ", 1)[::-1] for line in self.files[HASHES].decode().splitlines())
        except Exception as error:  # a damaged archive raises many kinds
            raise UserError(f"{path} is no bundle of a run, or damaged: {error}") from error
        found = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items() if name != HASHES}
        if wrong := sorted(name for name in {*found, *listed} if found.get(name) != listed.get(name)):
            raise UserError(f"{path} is damaged or was altered: {', '.join(wrong)} is not as {HASHES} says.")

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)


def open_place(path: Path) -> Place:
    """A run folder, or a bundle.

    Raises:
        UserError: it is neither.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such run folder or file.")
    return Bundle(path)
