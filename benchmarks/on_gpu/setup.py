"""The settings that all measurements share, and the error of one that cannot be made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONG = 160  # characters of a reason


@dataclass(frozen=True)
class Setup:
    """The settings that all measurements share.

    Args:
        device: ``cuda`` or ``cpu``.
        tiny: whether sizes are so small that figures mean nothing: a rehearsal.
        out: folder of the results.
        images: folder or archive of CIFAR-10 as JPEG files, if given.
    """

    device: str
    tiny: bool
    out: Path
    images: Path | None = None

    def size(self, full: Any, tiny: Any) -> Any:
        """Return the full size, or the tiny one in a rehearsal."""
        return tiny if self.tiny else full


class NotAvailable(Exception):
    """This machine does not have what an item measures."""


def one_line(error: BaseException) -> str:
    """Return what an error says in short: its first line, or sentence if that is long; or its name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if len(text) > LONG:
        text = text[:LONG].rpartition(". ")[0] or f"{text[:LONG]}..."
    return text.rstrip(".")
