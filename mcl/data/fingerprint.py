"""Fingerprints of images: the value of a run's ``data``, and how to compare two of them.

``2:NAMES-CONTENTS`` has a hash of the classes with the names and sizes of the files, and a hash of their contents
(:mod:`mcl.data.contents`). Fingerprints written by earlier versions are NAMES alone, without a prefix.
"""

import hashlib
from collections.abc import Iterable

_PREFIX = "2:"


def digest(parts: Iterable[object]) -> str:
    """Return a short hash of values, computed from their ``repr``."""
    state = hashlib.sha256()
    for part in parts:
        state.update(repr(part).encode())
        state.update(b"\n")
    return state.hexdigest()[:16]


def fingerprint(names: str, contents: str) -> str:
    """Return the fingerprint of images, from the hashes of their files' names and contents."""
    return f"{_PREFIX}{names}-{contents}"


def same_images(one: str, other: str) -> bool:
    """Return whether two fingerprints belong to the same images.

    If only one of them was written by an earlier version, the names alone are compared.
    """
    if one.startswith(_PREFIX) == other.startswith(_PREFIX):
        return one == other
    return _names(one) == _names(other)


def _names(fingerprint: str) -> str:
    return fingerprint.removeprefix(_PREFIX).partition("-")[0] if fingerprint.startswith(_PREFIX) else fingerprint
