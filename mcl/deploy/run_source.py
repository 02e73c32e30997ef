"""Read the files of a run from its folder, from a bundle or from a release. Nothing is unpacked."""

import hashlib
from pathlib import Path
from typing import Any

from mcl.deploy.release_folder import ReleaseFolder, is_release, release_folders
from mcl.errors import UserError, did_you_mean
from mcl.runs import checkpoints
from mcl.runs.checkpoints import Checkpoints
from mcl.runs.layout import CHECKPOINTS, CONFIG, IMPORTED, LAST, LAST_CHECKPOINT, METRICS, SUMMARY, WRITTEN
from mcl.untrusted.archives import DamagedArchive, read_zip
from mcl.untrusted.limits import MAX_CONFIG, MAX_JSON, MAX_METRICS, MAX_NETWORK
from mcl.untrusted.regular_files import read_bytes, refuse_outside_links
from mcl.untrusted.text import shorten

LIMITS = {CONFIG: MAX_CONFIG, SUMMARY: MAX_JSON, IMPORTED: MAX_JSON, METRICS: MAX_METRICS}
HASHES = "SHA256SUMS"  # in a bundle: one line "<sha256>  <file>" for every other file

_NO_RUN = (
    "is not a run: give a run folder, a bundle or a release. Exported files (.onnx, .pt, .safetensors) are for"
    " python -m mcl predict and latency."
)


class Folder:
    """A run folder.

    Raises:
        UserError: A link in it leads elsewhere.
    """

    def __init__(self, path: Path):
        self.path = path
        refuse_outside_links(path, WRITTEN)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file by its name, such as ``checkpoints/last.pt``; None if there is no such file.

        Raises:
            UserError: It cannot be read, is too large, or is not a regular file.
        """
        file = self.path / name
        try:
            return read_bytes(file, LIMITS.get(name, MAX_NETWORK)) if file.exists() else None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from error

    def checkpoint(self, *, allow_older: bool = False) -> dict[str, Any] | None:
        """Return the newest checkpoint, or None if there is none.

        Raises:
            UserError: It is damaged, and so are all others unless ``allow_older`` is set.
        """
        saved = Checkpoints(self.path / CHECKPOINTS)
        if allow_older:
            return saved.newest()
        newest = saved.newest_file()
        try:
            return None if newest is None else checkpoints.load(newest)
        except UserError as error:
            raise UserError(
                f"{error} Put an intact copy of it back, or take the one before with --allow-older (mcl.load:"
                " allow_older=True)."
            ) from error


class Bundle:
    """A file that ``python -m mcl bundle`` wrote.

    Raises:
        UserError: The file is not a bundle, or one of its files does not match the list of hashes.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.files = read_zip(path)
            listed = dict(line.split("  ", 1)[::-1] for line in self.files[HASHES].decode().splitlines())
        except (DamagedArchive, OSError, KeyError, ValueError) as error:
            is_bundle = path.suffix == ".zip" or isinstance(error, OSError)
            problem = f"is not a bundle of a run, or is damaged: {shorten(error)}" if is_bundle else _NO_RUN
            raise UserError(f"{path} {problem}") from error
        for name, limit in LIMITS.items():
            if len(self.files.get(name, b"")) > limit:
                raise UserError(f"{path}: {name} has more than {limit:,} bytes.")
        actual = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items() if name != HASHES}
        if altered := sorted(name for name in {*actual, *listed} if actual.get(name) != listed.get(name)):
            raise UserError(f"{path} is damaged or was altered: {shorten(', '.join(altered))} does not match {HASHES}.")

    def read(self, name: str) -> bytes | None:  # like `Folder.read`
        return self.files.get(name)

    def checkpoint(self, *, allow_older: bool = False) -> dict[str, Any] | None:
        content = self.read(LAST_CHECKPOINT)
        return None if content is None else checkpoints.decode(content, f"{self.path}: {LAST}")


def open_run_source(path: Path) -> "Folder | Bundle | ReleaseFolder":
    """Open a run folder, a bundle or a release; a release also by its name, such as ``few_images_tuned/lmcl-resnet8``.

    Raises:
        UserError: The path is none of these, and no release has this name.
    """
    if not path.exists():
        path = _released(path)
    if path.is_dir():
        return ReleaseFolder(path) if is_release(path) else Folder(path)
    return Bundle(path)


def _released(path: Path) -> Path:
    """Return the folder of a release by its name."""
    releases, name = release_folders(), path.as_posix()
    if name in releases:
        return releases[name]
    neighbors = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    known = did_you_mean(path.name, neighbors) or did_you_mean(name, releases)
    known = known or f" Released networks: {', '.join(releases) or 'none'}."
    raise UserError(f"{path}: there is no such run folder or file, and no release has this name.{known}")
