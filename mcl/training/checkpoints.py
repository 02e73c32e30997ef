"""Everything a run needs to go on: written aside and renamed, read without running code."""

from pathlib import Path
from typing import Any

import torch

from mcl.errors import UserError
from mcl.files import atomic_file

VERSION = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the one before it stays whole until the new one is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        torch.save({"version": VERSION, **state}, file)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UserError: the file is torn, altered, or of another version.
    """
    advice = "Start over with resume=never, or put an intact copy there."
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn file raises whatever the unpickler or the zip reader came across
        raise UserError(f"{path} cannot be read as a checkpoint ({type(error).__name__}). {advice}") from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise UserError(f"{path} is not a checkpoint of this version. {advice}")
    return state
