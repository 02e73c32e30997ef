"""Checkpoints: everything a run needs to resume, in files with a checksum. The last few are kept.

A checkpoint is the zip archive that ``torch.save`` writes. The comment at its end is the SHA-256 of all other bytes.
Checkpoints are read with ``weights_only=True``, which creates tensors and plain values and runs no code.
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
from mcl.program import program
from mcl.runs.checkpoint_files import COMMENT_SIZE, TITLE
from mcl.runs.layout import EARLIER, LAST, earlier_checkpoint, step_of_checkpoint
from mcl.runs.presence import Presence
from mcl.runs.received import received_run
from mcl.untrusted.limits import MAX_NETWORK
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.tensors import load_state

VERSION = 3

logger = logging.getLogger(__name__)


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint. An existing file stays intact until the new one is on disk.

    Raises:
        UserError: The file cannot be written, for example because the disk is full.
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
        UserError: There is no such file, or it is damaged or of another version.
    """
    try:
        content = read_bytes(path, MAX_NETWORK)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return decode(content, str(path))


def encode(state: Mapping[str, Any]) -> bytes:
    """Return the bytes of a checkpoint."""
    buffer = io.BytesIO()
    torch.save({"version": VERSION, **state}, buffer)
    buffer.seek(-2, os.SEEK_END)  # the last two bytes of a zip archive hold the length of its comment
    buffer.write(_checksum_comment(buffer.getbuffer()[:-2]))
    return buffer.getvalue()


def decode(content: bytes, name: str) -> dict[str, Any]:
    """Return the state that `encode` was given, on the CPU.

    Args:
        content: bytes of a checkpoint file.
        name: name of the file in error messages.

    Raises:
        UserError: The content is damaged or of another version, or its configuration is not plain data.
    """
    body = memoryview(content)[:-COMMENT_SIZE]
    if content[-COMMENT_SIZE:] != _checksum_comment(body):
        raise UserError(f"{name} is not a checkpoint, or has been cut short or altered: its checksum is wrong.")
    state = load_state(io.BytesIO(content), name)
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise UserError(
            f"{name} is not a checkpoint of format {VERSION}. Load it with the version of mcl that wrote it, or start"
            " over with resume=never."
        )
    if "config" in state:
        state["config"] = received_run(state["config"], f"{name}: config")
    return state


def _checksum_comment(body: memoryview) -> bytes:
    comment = TITLE + hashlib.sha256(body).hexdigest().encode()
    return len(comment).to_bytes(2, "little") + comment


class Checkpoints:
    """The checkpoints of one run: ``last.pt``, and ``step-<n>.pt`` for earlier ones.

    Each records the size and hash of the metrics written until then, so that lost lines are noticed.

    Args:
        folder: folder of the checkpoints.
        metrics: the file whose lines are checked; None to read networks only.
        max_checkpoints: number of checkpoints to keep, the last included.
        about: stored in each of them (settings, versions).
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
        self.home: Presence | None = None  # of the run folder; None to create it if need be
        self._step_of_last: int | None = None  # None if last.pt does not exist or is not worth keeping

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the newest checkpoint, then remove the oldest.

        Raises:
            UserError: The file cannot be written, for example because the disk is full, or the run folder is gone.
        """
        if self.home is not None:
            self.home.check()
        step = int(state["step"])
        if self.max_checkpoints > 1 and self._step_of_last is not None and self._step_of_last != step:
            _hard_link(self.last, self.folder / earlier_checkpoint(self._step_of_last))
        save(self.last, {**self.about, **state, "metrics": self._written_metrics()})
        self._step_of_last = step
        for rank, (earlier, path) in enumerate(self._earlier()):
            if rank >= self.max_checkpoints - 1 or earlier >= step:
                with contextlib.suppress(OSError):
                    path.unlink()

    def newest(self) -> dict[str, Any] | None:
        """Return the newest intact checkpoint, or None; damaged ones are logged.

        A checkpoint whose metrics have lost lines is skipped if an older one has all of its lines.

        Raises:
            UserError: There are checkpoints, but all are damaged.
        """
        damaged: list[str] = []
        intact: list[tuple[Path, dict[str, Any]]] = []
        for path in self._newest_first():
            try:
                state = load(path)
            except UserError as error:
                damaged.append(str(error))
                continue
            intact.append((path, state))
            if self._has_all_lines(state):
                break
        if not intact and damaged:
            advice = f"Put an intact copy back, or train anew: {program('train')} ... resume=never."
            raise UserError("\n  ".join(["No checkpoint can be used:", *damaged, advice]))
        if not intact:
            return None
        for problem in damaged:
            logger.warning("%s", problem)
        path, state = intact[-1]
        if not self._has_all_lines(state):
            path, state = intact[0]
            logger.warning("%s has lost or altered lines of the steps before %s.", self.metrics, state.get("step"))
        elif len(intact) > 1:
            logger.warning("%s does not have all lines up to %s.", self.metrics, intact[0][0].name)
        if path != self.last:
            logger.warning("Resuming from %s instead, step %s.", path.name, state.get("step"))
        self._step_of_last = state.get("step") if path == self.last else None
        return state

    def newest_file(self) -> Path | None:
        """Return the file of the newest checkpoint, intact or not; None if there is none."""
        return next(self._newest_first(), None)

    def _newest_first(self) -> Iterator[Path]:
        if self.last.exists():
            yield self.last
        yield from (path for _, path in self._earlier())

    def _earlier(self) -> list[tuple[int, Path]]:
        """Return ``(step, file)`` of all but the last, newest first."""
        files = []
        for path in self.folder.glob(EARLIER):
            with contextlib.suppress(ValueError):
                files.append((step_of_checkpoint(path.name), path))
        return sorted(files, reverse=True)

    def _written_metrics(self) -> dict[str, Any] | None:
        """Return size and hash of the metrics, flushed to disk first: a checkpoint counts no line that can be lost."""
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

    def _has_all_lines(self, state: Mapping[str, Any]) -> bool:
        expected = state.get("metrics")
        if self.metrics is None or not isinstance(expected, dict):  # an imported checkpoint has none
            return True
        try:
            with open(self.metrics, "rb") as file:
                content = file.read()[: expected["size"]]
        except OSError:
            content = b""
        return hashlib.sha256(content).hexdigest() == expected["sha256"]


def _hard_link(source: Path, target: Path) -> None:
    """Hard-link a file, so that it survives when the original is replaced."""
    with contextlib.suppress(OSError):
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            os.replace(source, target)
