"""Slots for jobs: one or several devices, and a share of the CPU cores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcl.errors import UserError
from mcl.launching.gpus import VISIBLE, display_name, is_mig
from mcl.launching.launch_options import Options

MOST_ON_CPU = 4  # jobs at a time, unless it is said otherwise: more would mostly wait for memory


@dataclass(frozen=True)
class Slot:
    """Where one job at a time can run."""

    device: str  # for people: "GPU 0", "cores 0-3"
    visible: str  # CUDA_VISIBLE_DEVICES; empty on the CPU
    cores: tuple[int, ...]  # that the job may use; none where the system cannot confine a process
    threads: int  # of each of its processes

    @property
    def environment(self) -> dict[str, str]:
        """What a job must find in its environment before it imports torch."""
        return {VISIBLE: self.visible, "OMP_NUM_THREADS": str(self.threads)}


def make_slots(gpus: Sequence[str], options: Options, cores: Sequence[int] | None = None) -> list[Slot]:
    """Shard devices and cores out over as many slots as there can be.

    Args:
        gpus: entries of ``CUDA_VISIBLE_DEVICES``; none for the CPU.
        options: of the launcher.
        cores: that this process may use; None asks the system.

    Raises:
        UserError: a job wants more GPUs than there are, or several parts of a GPU.
    """
    cores = usable_cores() if cores is None else list(cores)
    size = options.devices_per_job
    if not gpus:
        count = options.jobs_per_device or max(1, min(MOST_ON_CPU, len(cores) // size))
        return [_slot(_named(mine), "", mine, size) for mine in shares(cores, count)]
    if size > len(gpus):
        raise UserError(
            f"hydra.launcher.devices_per_job={size}: there {'is' if len(gpus) == 1 else 'are'} {len(gpus)}"
            f" ({', '.join(map(display_name, gpus))}). Give more devices, or fewer to a job."
        )
    if size > 1 and any(map(is_mig, gpus)):
        raise UserError(
            f"hydra.launcher.devices_per_job={size}: CUDA shows a process one part of a GPU (MIG) at most. Use"
            " devices_per_job=1."
        )
    groups = [gpus[start : start + size] for start in range(0, len(gpus) - size + 1, size)]
    # The first job of every device comes before the second of any.
    groups *= options.jobs_per_device or 1
    return [
        _slot(" + ".join(map(display_name, group)), ",".join(group), mine, size)
        for group, mine in zip(groups, shares(cores, len(groups)), strict=True)
    ]


def shares(cores: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Cores for each of ``count``: all of them, none twice unless there are too few.

    >>> shares([0, 1, 2, 3, 4], 2)
    [(0, 1), (2, 3, 4)]
    """
    if count > len(cores):
        return [(cores[i % len(cores)],) for i in range(count)]
    return [tuple(cores[i * len(cores) // count : (i + 1) * len(cores) // count]) for i in range(count)]


def usable_cores() -> list[int]:
    """The cores this process may use, the two threads of one core side by side."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0), key=lambda core: (_place(core), core))
    return list(range(os.cpu_count() or 1))


def _place(core: int) -> tuple[int, ...]:
    topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        return tuple(int((topology / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        return (0, core)


def _slot(device: str, visible: str, cores: tuple[int, ...], processes: int) -> Slot:
    pinned = cores if hasattr(os, "sched_setaffinity") else ()
    return Slot(device, visible, pinned, threads=max(1, len(cores) // processes))


def _named(cores: tuple[int, ...]) -> str:
    """``core 1``, ``cores 0-3``, ``cores 0,8``."""
    if len(cores) == 1:
        return f"core {cores[0]}"
    in_a_row = sorted(cores) == list(range(min(cores), max(cores) + 1))
    return f"cores {min(cores)}-{max(cores)}" if in_a_row else f"cores {','.join(map(str, cores))}"
