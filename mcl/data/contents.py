"""Identify image files by their contents, wherever they lie.

A hash covers the names (below a root) and the sizes of all files, and the contents of a sample. The sample is every
file as long as they have at most ``SAMPLE_BYTES`` together, as CIFAR-10 or Oxford Pets do. Of larger sets it is the
first so many bytes in an order that follows from the names alone, so that it is the same on every machine.

Noticed: a file that is added, missing, renamed or of another size; any other change inside a file of the sample.
Not noticed: a file of a large set that is outside the sample and was replaced by one of equal name and size.
"""

import hashlib
import itertools
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mcl.data.dataset import digest
from mcl.data.decoding import FileSystemError, read_error, read_file
from mcl.errors import UserError
from mcl.files import write_atomically

SAMPLE_BYTES = 2**30
THREADS = 16  # a network file system answers many requests at a time
_CHUNK = 64  # files that a thread hashes at a time
_FORMAT = 1
_JUST_CHANGED = 2_000_000_000  # ns: file systems date changes this coarsely, so a file may change twice at one time


class Contents(NamedTuple):
    """What is in some files.

    Args:
        sizes: in bytes, in the order of the files.
        digest: of their names, sizes and contents, see the module.
        place: hash of the root, the names, the sizes and the times of the last change.
        whole: whether ``digest`` covers every byte of every file.
    """

    sizes: list[int]
    digest: str
    place: str
    whole: bool

    @property
    def key(self) -> tuple[str, ...]:
        """What a cache of these files is found by: their contents or, where the hash leaves some out, the place too."""
        return (self.digest,) if self.whole else (self.digest, self.place)


def contents(root: Path, paths: Sequence[str], cache: Path) -> Contents:
    """Return what is in ``paths`` below ``root``. Files are read again only when one of them has changed.

    Args:
        root: folder that the paths start from.
        paths: of the files, in order.
        cache: folder that keeps the hashes; need not be writable.

    Raises:
        UserError: The file system does not give a file.
    """
    stats = [file_status(root, path) for path in paths]
    sizes = [stat.st_size for stat in stats]
    facts = ((path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in zip(paths, stats, strict=True))
    place = digest([_FORMAT, SAMPLE_BYTES, os.path.realpath(root), *facts])
    whole = sum(sizes) <= SAMPLE_BYTES
    kept = cache / "contents" / f"{root.name}-{place}"
    found = _read(kept)
    if found is None:
        found = content_digest(root, paths, sizes)
        newest = max((max(stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats), default=0)
        if time.time_ns() - newest > _JUST_CHANGED:
            _keep(kept, found)
    return Contents(sizes, found, place, whole)


def content_digest(root: Path, paths: Sequence[str], sizes: Sequence[int]) -> str:
    """Return the hash of names, sizes and the contents of the sample.

    Raises:
        UserError: The file system does not give a file.
    """
    chosen = _sample(paths, sizes)

    def hash_chunk(start: int) -> list[bytes]:
        return [_file_digest(root / paths[position]) for position in chosen[start : start + _CHUNK]]

    with ThreadPoolExecutor(THREADS) as pool:
        hashes = dict(zip(chosen, itertools.chain(*pool.map(hash_chunk, range(0, len(chosen), _CHUNK))), strict=True))
    return digest((paths[row], sizes[row], hashes.get(row)) for row in sorted(range(len(paths)), key=paths.__getitem__))


def file_status(root: Path, path: str) -> os.stat_result:
    """Return ``os.stat`` of a file.

    Raises:
        UserError: The file system does not give it, for example because it is a link to nothing.
    """
    try:
        return os.stat(os.path.join(root, path))
    except OSError as error:
        raise read_error(root / path, error) from error


def _file_digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(read_file(path).getbuffer()).digest()
    except FileSystemError as error:
        raise read_error(path, error) from error


def _sample(paths: Sequence[str], sizes: Sequence[int]) -> list[int]:
    """Positions of the files whose contents are hashed."""
    if sum(sizes) <= SAMPLE_BYTES:
        return list(range(len(paths)))
    keys = [hashlib.sha256(os.fsencode(path)).digest() for path in paths]
    chosen, total = [], 0
    for position in sorted(range(len(paths)), key=keys.__getitem__):
        total += sizes[position]
        if total > SAMPLE_BYTES:
            break
        chosen.append(position)
    return chosen


def _read(kept: Path) -> str | None:
    try:
        text = kept.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch("[0-9a-f]{16}", text) else None


def _keep(kept: Path, found: str) -> None:
    """Keep a hash for the next time, if the folder can be written to."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, found)
    except (OSError, UserError):  # slower, but no worse
        return
