"""Whether two run folders hold the same: every file, every line, every bit of what training computes."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from mcl.errors import UserError
from mcl.runs import checkpoints
from mcl.runs.layout import CHECKPOINTS, HYDRA, LOCK, METRICS, SUMMARY
from mcl.runs.lock import holder

TIMES = {
    *("time", "train/images_per_second", "seconds", "training_seconds", "images_per_second", "images_timed"),
    "peak_memory",
    *("code", "sha256", "metrics", "checkpoint"),  # of the checkout, and of files with times in them
}


def different_files(folder: Path, reference: Path, ignored: Collection[str] = ()) -> list[str]:
    """Return a line for each file of two run folders that differs in more than times and memory.

    Files with an ignored name are left out. A lock that no process holds counts as none: a process killed just before
    its end leaves one behind. The record of Hydra is of the last command that was typed, not of what it computed.
    """
    lines = []
    if holder(folder) is None:
        ignored = {*ignored, LOCK}
    names = [
        {name for name in _names(place) if not name.startswith(f"{HYDRA}/")} - set(ignored)
        for place in (folder, reference)
    ]
    lines += [f"{name} is too many" for name in sorted(names[0] - names[1])]
    lines += [f"{name} is missing" for name in sorted(names[1] - names[0])]
    for name in sorted(names[0] & names[1]):
        if difference := _difference(name, folder / name, reference / name):
            lines.append(f"{name} {difference}")
    return lines


def _names(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]


def steps(folder: Path) -> list[tuple[int, bool]]:
    """Return the step of each whole line of metrics.jsonl, and whether the line is of an evaluation."""
    file = folder / METRICS
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return []
    rows = [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith(b"}\n")]
    return [(row["step"], any(name.startswith("test/") for name in row)) for row in rows]


def _difference(name: str, file: Path, reference: Path) -> str | None:
    try:
        place = _first_difference(_content(name, file), _content(name, reference), "")
    except (ValueError, UserError) as error:
        return f"cannot be read: {error}"
    return place and f"differs at {place}"


def _content(name: str, file: Path) -> Any:
    """Return what training has computed in a file."""
    if name == METRICS:
        return _without_times([json.loads(line) for line in file.read_text().splitlines()])
    if name == SUMMARY:
        return _without_times(json.loads(file.read_text()))
    if name.startswith(f"{CHECKPOINTS}/"):
        return _without_times(checkpoints.load(file))
    return file.read_bytes()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(child) for key, child in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [_without_times(child) for child in value]
    return value


def _first_difference(one: Any, other: Any, place: str) -> str | None:
    """Return where two values differ first, or None; tensors must have equal bits."""
    here = place or "the content"
    if type(one) is not type(other):
        return here
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return here
        pairs = [(f"{place}.{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list):
        if len(one) != len(other):
            return f"{here} ({len(one)} entries, not {len(other)})"
        pairs = [(f"{place}[{i}]", *pair) for i, pair in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        return None if same and _bits(one) == _bits(other) else here
    else:
        return None if one == other or (one != one and other != other) else here
    return next((found for name, a, b in pairs if (found := _first_difference(a, b, name))), None)


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
