"""Run many jobs, each in its own process on its own device: the machinery of ``hydra/launcher=gpus``.

A job is a command, an environment and a folder; this room uses neither Hydra nor torch. `JobQueue` runs jobs over the
slots of `make_slots`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.launching.board import Board
    from mcl.launching.gpus import find_gpus
    from mcl.launching.job import Job, Outcome
    from mcl.launching.launch_options import Options
    from mcl.launching.queue import JobQueue
    from mcl.launching.slots import Slot, make_slots

__all__ = ["Board", "Job", "JobQueue", "Options", "Outcome", "Slot", "find_gpus", "make_slots"]
_FILES = {
    "Board": "board",
    "Job": "job",
    "JobQueue": "queue",
    "Options": "launch_options",
    "Outcome": "job",
    "Slot": "slots",
    "find_gpus": "gpus",
    "make_slots": "slots",
}


def __getattr__(name: str) -> Any:  # on first use: the launcher's options are read at every start of Hydra
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
