"""Run folders made by ``python -m mcl import``: a configuration, networks, and a record of where they come from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs import checkpoints
from mcl.runs.layout import IMPORTED, LAST_CHECKPOINT
from mcl.runs.stored_config import plain, write_config
from mcl.untrusted.text import decode_json


def write_imported(folder: Path, config: DictConfig, state: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Make a run folder for networks that were trained elsewhere.

    Args:
        folder: created if it does not exist.
        config: the configuration that rebuilds the networks.
        state: state to save as the checkpoint.
        record: known facts about the imported file.

    Raises:
        UserError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = plain(config)
    write_config(folder, settings)
    write_atomically(folder / IMPORTED, json.dumps(record, indent=2) + "\n")
    checkpoints.save(folder / LAST_CHECKPOINT, {"step": 0, "config": settings, **state})


def decode_imported(content: bytes | None) -> dict[str, Any] | None:
    """Return the record of an import; None if there is none, empty if it is damaged."""
    if content is None:
        return None
    try:
        record = decode_json(content, IMPORTED)
    except UserError:
        return {}
    return record if isinstance(record, dict) else {}
