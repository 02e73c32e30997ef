"""Checkpoints: everything a run needs to resume, in files with a checksum. The last few are kept.

A checkpoint is what ``torch.save`` writes, a zip archive, and ends with a SHA-256 of all its bytes as the comment of
that archive. It is read by the ``weights_only`` unpickler, which makes tensors and plain values and calls nothing.
"""

import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mcl.errors import UserError
from mcl.files import atomic_file, write_error
from mcl.runs.checkpoint_files import SEAL_SIZE, TITLE
from mcl.runs.layout import EARLIER, LAST
from mcl.runs.received import received_run

VERSION = 3

logger = logging.getLogger(__name__)


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a file that was there stays whole until the new one is on disk.

    Raises:
        UserError: it cannot be written, for example because the disk is full.
    """
    content = encode(state)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    with atomic_file(path) as file:
        file.write(content)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UserError: there is none, or it is torn, altered, or of another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return decode(content, str(path))


def encode(state: Mapping[str, Any]) -> bytes:
    """The bytes of a checkpoint."""
    buffer = io.BytesIO()
    torch.save({"version": VERSION, **state}, buffer)
    buffer.seek(-2, os.SEEK_END)  # the length of a comment that is not there yet
    buffer.write(_seal(buffer.getbuffer()[:-2]))
    return buffer.getvalue()


def decode(content: bytes, name: str) -> dict[str, Any]:
    """What ``encode`` was given, on the CPU.

    Args:
        content: of a file.
        name: what messages call it.

    Raises:
        UserError: it is torn, altered, or of another version, or its configuration is not plain data.
    """
    body = memoryview(content)[:-SEAL_SIZE]
    if content[-SEAL_SIZE:] != _seal(body):
        raise UserError(f"{name} is no checkpoint, or has been cut short or altered: its checksum is wrong.")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler came across
        raise UserError(
            f"{name} is refused: it holds something other than tensors and plain values, which could run code when"
            f" read ({type(error).__name__})."
        ) from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise UserError(f"{name} is not a checkpoint of this version of mcl.")
    if "config" in state:
        state["config"] = received_run(state["config"], f"{name}: config")
    return state


def _seal(body: memoryview) -> bytes:
    comment = TITLE + hashlib.sha256(body).hexdigest().encode()
    return len(comment).to_bytes(2, "little") + comment


class Checkpoints:
    """The checkpoints of one run: ``last.pt``, and ``step-<n>.pt`` for the ones before it.

    Each says how long ``metrics.jsonl`` was and what was in it, so that a file that has lost lines is noticed.

    Args:
        folder: where they are.
        metrics: the file of metrics, whose lines of a step are written before the checkpoint of that step; None where
            the networks alone matter.
        max_checkpoints: how many are kept, the last included.
        about: put into each of them as it is (settings, versions).
    """

    def __init__(
        self,
        folder: Path,
        metrics: Path | None = None,
        *,
        max_checkpoints: int = 2,
        about: Mapping[str, Any] | None = None,
    ):
        self.folder = folder
        self.metrics = metrics
        self.max_checkpoints = max_checkpoints
        self.about = dict(about or {})
        self.last = folder / LAST
        self._step_of_last: int | None = None  # None while last.pt is not there, or not worth keeping

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the newest one; older ones stay as they are until it is on disk.

        Raises:
            UserError: it cannot be written, for example because the disk is full.
        """
        step = int(state["step"])
        if self.max_checkpoints > 1 and self._step_of_last not in (None, step):
            _second_name(self.last, self.folder / f"step-{self._step_of_last}.pt")
        save(self.last, {**self.about, **state, "metrics": self._written_metrics()})
        self._step_of_last = step
        for rank, (earlier, path) in enumerate(self._earlier()):
            if rank >= self.max_checkpoints - 1 or earlier >= step:
                with contextlib.suppress(OSError):
                    path.unlink()

    def newest(self) -> dict[str, Any] | None:
        """The newest whole one, None where there is none at all. What is not whole is told as a warning.

        One whose lines are missing from ``metrics.jsonl`` is passed over for an older one that has all its lines.

        Raises:
            UserError: there are checkpoints, but none is whole.
        """
        damaged: list[str] = []
        whole: list[tuple[Path, dict[str, Any]]] = []
        for path in self._newest_first():
            try:
                state = load(path)
            except UserError as error:
                damaged.append(str(error))
                continue
            whole.append((path, state))
            if self._has_its_lines(state):
                break
        if not whole and damaged:
            raise UserError("\n  ".join(["No checkpoint can be used:", *damaged, "Start over with resume=never."]))
        if not whole:
            return None
        for problem in damaged:
            logger.warning("%s", problem)
        path, state = whole[-1]
        if not self._has_its_lines(state):
            path, state = whole[0]
            logger.warning("%s has lost or altered lines of the steps before %s.", self.metrics, state.get("step"))
        elif len(whole) > 1:
            logger.warning("%s does not have all lines up to %s.", self.metrics, whole[0][0].name)
        if path != self.last:
            logger.warning("Going on from %s instead, step %s.", path.name, state.get("step"))
        self._step_of_last = state.get("step") if path == self.last else None
        return state

    def _newest_first(self) -> Iterator[Path]:
        if self.last.exists():
            yield self.last
        yield from (path for _, path in self._earlier())

    def _earlier(self) -> list[tuple[int, Path]]:
        """``(step, file)`` of all but the last, newest first."""
        found = []
        for path in self.folder.glob(EARLIER):
            with contextlib.suppress(ValueError):
                found.append((int(path.stem.removeprefix("step-")), path))
        return sorted(found, reverse=True)

    def _written_metrics(self) -> dict[str, Any] | None:
        """Size and hash of the metrics so far, which are made durable: a checkpoint never knows lines that are not."""
        if self.metrics is None:
            return None
        try:
            with open(self.metrics, "rb+") as file:
                os.fsync(file.fileno())
                content = file.read()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise write_error(self.metrics, error) from error
        return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def _has_its_lines(self, state: Mapping[str, Any]) -> bool:
        expected = state.get("metrics")
        if self.metrics is None or not isinstance(expected, dict):  # an imported one never had any
            return True
        try:
            with open(self.metrics, "rb") as file:
                content = file.read(expected["size"])
        except OSError:
            content = b""
        return hashlib.sha256(content).hexdigest() == expected["sha256"]


def _second_name(path: Path, other: Path) -> None:
    """Let a file be found under another name too, so that replacing the first does not lose it."""
    with contextlib.suppress(OSError):
        other.unlink(missing_ok=True)
        try:
            os.link(path, other)
        except OSError:  # a file system without hard links
            os.replace(path, other)
