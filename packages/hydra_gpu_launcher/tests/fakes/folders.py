"""Folders as jobs leave them: a lock, a summary, how far they are."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

from hydra_gpu_launcher.job import Job


def lock_folder(folder: Path) -> IO[str]:
    """Lock a folder until the file is closed. Raises BlockingIOError if another process has locked it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / "lock", "a")  # noqa: SIM115 - open as long as the lock is held
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.truncate(0)
    file.write(f"process {os.getpid()}")
    file.flush()
    return file


def write_atomically(path: str | Path, text: str) -> None:
    """Write a file that readers see whole."""
    temporary = Path(f"{path}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Return the summary of a finished job of this name; None if there is none or it is damaged."""
    try:
        summary = json.loads((folder / "summary.json").read_text())
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and summary.get("name") == folder.name else None


@dataclass(frozen=True)
class LockingJob(Job):
    """A job that locks its folder, skips what is finished and reports how far it is."""

    locks_folder: ClassVar[bool] = True

    always_runs: bool = False

    def summary(self) -> dict[str, Any] | None:
        return None if self.always_runs else read_summary(self.folder)

    def holder(self) -> str | None:
        try:
            with open(self.folder / "lock") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return (self.folder / "lock").read_text() or "another process"
        except OSError:  # there is no lock
            pass
        return None

    def progress(self, since: float) -> tuple[float, float | None] | None:
        file = self.folder / "progress"
        return (float(file.read_text()), 9.0) if file.exists() else None

    def milestone(self, seconds: float) -> int:
        return int((self.folder / "evaluated").exists())
