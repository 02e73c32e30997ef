"""Identify image files by their contents, wherever they are.

A hash covers the names (below a root) and the sizes of all files, and the contents of a sample. The sample is every
file if they have at most ``SAMPLE_BYTES`` together, as those of CIFAR-10 or Oxford Pets. Of larger sets it is the first
``SAMPLE_BYTES`` in an order derived from the names alone, so that it is the same on every machine.

Detected: a file that is added, missing, renamed or of another size; any other change to a file of the sample.
Not detected: a file of a large set that is outside the sample and was replaced by one of equal name and size.
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

from mcl.data.decoding import FileSystemError, read_error, read_file
from mcl.data.fingerprint import digest
from mcl.errors import UserError
from mcl.files import write_atomically

SAMPLE_BYTES = 2**30
THREADS = 16  # a network file system serves many requests at a time
_CHUNK = 64  # files that a thread hashes at a time
_FORMAT = 1
_JUST_CHANGED = 2_000_000_000  # ns: file systems have coarse clocks, so a second change may get the same time


class Contents(NamedTuple):
    """Sizes and hashes of some files."""

    sizes: list[int]  # bytes of each file, in the order of the files
    digest: str  # hash of names, sizes and the contents of the sample
    key: tuple[str, ...]  # key of a cache of these files: the digest, and their location if it does not cover all bytes


def contents(root: Path, paths: Sequence[str], cache: Path) -> Contents:
    """Hash the files ``paths`` below ``root``. They are read again only when one of them has changed.

    Args:
        root: folder that the paths start from.
        paths: paths of the files, in order.
        cache: folder that keeps the hashes; need not be writable.

    Raises:
        UserError: The file system fails to give a file.
    """
    stats = [file_status(root, path) for path in paths]
    sizes = [stat.st_size for stat in stats]
    facts = ((path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in zip(paths, stats, strict=True))
    location = digest([_FORMAT, SAMPLE_BYTES, os.path.realpath(root), *facts])
    cached = cache / "contents" / f"{root.name}-{location}"
    hashed = _read(cached)
    if hashed is None:
        hashed = content_digest(root, paths, sizes)
        newest = max((max(stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats), default=0)
        if time.time_ns() - newest > _JUST_CHANGED:
            _write(cached, hashed)
    complete = sum(sizes) <= SAMPLE_BYTES
    return Contents(sizes, hashed, key=(hashed,) if complete else (hashed, location))


def content_digest(root: Path, paths: Sequence[str], sizes: Sequence[int]) -> str:
    """Return the hash of names, sizes and the contents of the sample.

    Raises:
        UserError: The file system fails to give a file.
    """
    sample = _sample(paths, sizes)

    def hash_chunk(start: int) -> list[bytes]:
        return [_file_digest(root / paths[position]) for position in sample[start : start + _CHUNK]]

    with ThreadPoolExecutor(THREADS) as pool:
        hashes = dict(zip(sample, itertools.chain(*pool.map(hash_chunk, range(0, len(sample), _CHUNK))), strict=True))
    return digest((paths[row], sizes[row], hashes.get(row)) for row in sorted(range(len(paths)), key=paths.__getitem__))


def file_status(root: Path, path: str) -> os.stat_result:
    """Return ``os.stat`` of a file.

    Raises:
        UserError: It fails, for example because the file is a broken link.
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
    """Return the positions of the files whose contents are hashed."""
    if sum(sizes) <= SAMPLE_BYTES:
        return list(range(len(paths)))
    keys = [hashlib.sha256(os.fsencode(path)).digest() for path in paths]
    sample, total = [], 0
    for position in sorted(range(len(paths)), key=keys.__getitem__):
        total += sizes[position]
        if total > SAMPLE_BYTES:
            break
        sample.append(position)
    return sample


def _read(cached: Path) -> str | None:
    try:
        text = cached.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch("[0-9a-f]{16}", text) else None


def _write(cached: Path, hashed: str) -> None:
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cached, hashed)
    except (OSError, UserError):  # the folder is not writable: hashing again is slower, but correct
        return
