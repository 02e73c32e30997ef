"""``summary.json``: the results of a finished run, with a checksum of themselves."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

CHECKSUM = "sha256"


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a JSON file, with a ``sha256`` of themselves."""
    return {**values, CHECKSUM: _digest(values)}


def checksum_mismatch(values: Mapping[str, Any]) -> bool:
    """Whether what was read from a JSON file has no seal, or one that belongs to other values."""
    return values.get(CHECKSUM) != _digest(values)


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps({key: value for key, value in values.items() if key != CHECKSUM}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
