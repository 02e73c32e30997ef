"""Places that the weights of one network come from (``pair.first.weights=``), without torch."""

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from mcl.errors import UserError
from mcl.files import expand_home
from mcl.runs.checkpoint_files import checkpoint_of, read_checksum
from mcl.runs.pair import WEIGHTS, option_of_networks
from mcl.untrusted.limits import MAX_NETWORK
from mcl.untrusted.regular_files import read_bytes

EPOCHS = ("last", "best")
SUFFIXES = (".pt", ".pth", ".safetensors", ".bin", ".ckpt", ".tar")  # files of weights, in this project and elsewhere


class WeightsPlace(NamedTuple):
    """A run folder or a file of weights, and which network of it."""

    path: Path
    key: str | None = None  # network of a run; None: the one that fits
    epoch: Literal["last", "best"] = "last"

    @property
    def file(self) -> Path:
        """The file: of a run folder, the last checkpoint; of a folder in the layout of Hugging Face, its weights."""
        hub = self.path / "model.safetensors"
        return hub if hub.is_file() else checkpoint_of(self.path)


def parse_place(weights: Any) -> WeightsPlace | None:
    """Parse ``FILE``, ``RUN``, ``RUN:first`` or ``RUN:first:best``; None for a name of pretrained weights, or null.

    A name is one word without a slash, a colon or the suffix of a file, if no file or folder is called so.

    Raises:
        UserError: There are too many colons.
    """
    if not isinstance(weights, str) or not weights:
        return None
    path = expand_home(weights)
    if os.path.lexists(path):
        return WeightsPlace(path)
    front, *parts = weights.split(":")
    if not parts:
        return WeightsPlace(path) if "/" in weights or weights.endswith(SUFFIXES) else None
    epoch = parts.pop() if parts[-1] in EPOCHS else "last"
    if len(parts) > 1 or not front:
        raise UserError(f"weights={weights}: expected a file, or a run as RUN, RUN:first or RUN:first:best.")
    return WeightsPlace(expand_home(front), parts[0] if parts else None, cast(Literal["last", "best"], epoch))


def places_of(pair: Mapping[Any, Any]) -> dict[str, WeightsPlace]:
    """Return the places that the networks of a pair name, by key; pretrained weights by name are left out."""
    places = {key: parse_place(weights) for key, weights in option_of_networks(pair, WEIGHTS).items()}
    return {key: place for key, place in places.items() if place is not None}


def checksum_of_place(place: WeightsPlace) -> str | None:
    """Return what identifies the weights at a place, wherever it lies; None if there is no such file."""
    try:
        status = place.file.stat()
    except OSError:
        return None
    checksum = _checksum(place.file, status.st_mtime_ns, status.st_size)
    chosen = [place.key or "", *(["best"] if place.epoch == "best" else [])]
    return None if checksum is None else ":".join([checksum, *chosen]).removesuffix(":")


@functools.cache
def _checksum(file: Path, mtime: int, size: int) -> str | None:
    """Return the checksum in a file or, of a file of another program, that of its content; cached until it changes."""
    try:
        return read_checksum(file) or hashlib.sha256(read_bytes(file, MAX_NETWORK)).hexdigest()
    except OSError:
        return None
