"""Run many jobs, each in its own process on its own device: the machinery of ``hydra/launcher=gpus``.

A job is a command, an environment and a folder; this package uses neither Hydra nor torch. `JobQueue` runs jobs in the
slots of `make_slots`.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.launching.board import Board
    from mcl.launching.gpus import find_gpus
    from mcl.launching.job import Job, Outcome
    from mcl.launching.launch_options import Options
    from mcl.launching.queue import JobQueue
    from mcl.launching.slots import Slot, make_slots

__all__ = ["Board", "Job", "JobQueue", "Options", "Outcome", "Slot", "find_gpus", "make_slots"]
__getattr__ = lazy_exports(
    __name__,
    {
        "board": ["Board"],
        "gpus": ["find_gpus"],
        "job": ["Job", "Outcome"],
        "launch_options": ["Options"],
        "queue": ["JobQueue"],
        "slots": ["Slot", "make_slots"],
    },
)
