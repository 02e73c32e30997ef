"""``summary.json``, the results of a finished run with a checksum of themselves, and ``failure.json``."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcl.errors import UserError
from mcl.runs.layout import FAILURE, METRICS, SUMMARY
from mcl.untrusted.limits import MAX_JSON, MAX_METRICS
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.text import decode_json

CHECKSUM = "sha256"
PRUNED = "pruned"  # the status in failure.json of a run that a search ended early
METRICS_KEY = "metrics"  # the SHA-256 of metrics.jsonl as it was when the run ended


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Return the results of a finished run; None if there is no summary.

    Raises:
        UserError: The file is damaged or was altered.
        OSError: The file cannot be read.
    """
    file = folder / SUMMARY
    return decode_summary(read_bytes(file, MAX_JSON), SUMMARY) if file.exists() else None


def intact_summary(folder: Path) -> dict[str, Any] | None:
    """Return the results of a finished run; None if there is no summary or it is damaged."""
    try:
        return read_summary(folder)
    except (OSError, UserError):
        return None


def was_pruned(folder: Path) -> bool:
    """Return whether a search ended the run in a folder early, and nothing has finished it since."""
    try:
        failure = read_failure(folder)
    except (OSError, UserError):
        return False
    return failure is not None and failure.get("status") == PRUNED and intact_summary(folder) is None


def decode_summary(content: bytes, name: str) -> dict[str, Any]:
    """Return the results in the content of a summary.

    Args:
        content: content of the file.
        name: name of the file in messages.

    Raises:
        UserError: The content is damaged or was altered.
    """
    summary = _decode(content, name)
    if summary.get(CHECKSUM) != _digest(summary):
        raise UserError(f"{name} was altered after it was written: its checksum is wrong")
    return summary


def read_failure(folder: Path) -> dict[str, Any] | None:
    """Return why a run stopped: its ``status``, ``error``, ``message`` and ``step``; None if it recorded nothing.

    Raises:
        UserError: The file is damaged.
        OSError: The file cannot be read.
    """
    file = folder / FAILURE
    return _decode(read_bytes(file, MAX_JSON), FAILURE) if file.exists() else None


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for a JSON file, with a ``sha256`` of themselves."""
    return {**values, CHECKSUM: _digest(values)}


def metrics_checksum(folder: Path) -> str:
    """Return the SHA-256 of the metrics in a run folder.

    Raises:
        OSError: There are none, or they cannot be read.
    """
    return hashlib.sha256(read_bytes(folder / METRICS, MAX_METRICS)).hexdigest()


def _decode(content: bytes, name: str) -> dict[str, Any]:
    values = decode_json(content, name)
    if not isinstance(values, dict):
        raise UserError(f"{name} holds no JSON object")
    return values


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps({key: value for key, value in values.items() if key != CHECKSUM}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def deployed_networks(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of the networks that a run deploys: those under ``deployed``, or all."""
    networks: list[Mapping[str, Any]] = summary["networks"]
    keys = summary.get("deployed")
    chosen = [network for network in networks if isinstance(keys, list) and network.get("key") in keys]
    return chosen or networks
