"""Slots for jobs: one or several devices, and a share of the CPU cores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.gpus import VISIBLE, display_name, is_mig
from hydra_gpu_launcher.launch_options import AUTO, Options

MOST_ON_CPU = 4  # default limit of jobs at a time: more would mostly wait for memory


@dataclass(frozen=True)
class Slot:
    """The devices and cores on which one job at a time can run."""

    device: str  # display name: "GPU 0", "cores 0-3"
    visible: str  # CUDA_VISIBLE_DEVICES; empty on the CPU
    cores: tuple[int, ...]  # cores that the job may use; empty if the system cannot pin a process
    threads: int  # per process

    @property
    def gpus(self) -> tuple[str, ...]:
        """Its GPUs, as in ``CUDA_VISIBLE_DEVICES``; empty on the CPU."""
        return tuple(filter(None, self.visible.split(",")))

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that a job needs before it imports torch."""
        return {VISIBLE: self.visible, "OMP_NUM_THREADS": str(self.threads)}


def make_slots(gpus: Sequence[str], options: Options, cores: Sequence[int] | None = None) -> list[Slot]:
    """Distribute devices and cores over as many slots as possible.

    Args:
        gpus: entries of ``CUDA_VISIBLE_DEVICES``; empty for the CPU.
        options: options of the launcher.
        cores: available cores; None for those of this process.

    Raises:
        LauncherError: a job needs more GPUs than there are, or several MIG devices.
    """
    cores = usable_cores() if cores is None else list(cores)
    size = options.devices_per_job
    if not gpus:
        count = options.fixed_per_gpu or max(1, min(MOST_ON_CPU, len(cores) // size))
        return [_slot(_name_cores(group), "", group, size) for group in split_cores(cores, count)]
    if size > len(gpus):
        raise LauncherError(
            f"hydra.launcher.devices_per_job={size}: there {'is' if len(gpus) == 1 else 'are'} {len(gpus)}"
            f" ({', '.join(map(display_name, gpus))}). Give more devices, or fewer to a job."
        )
    if size > 1 and any(map(is_mig, gpus)):
        raise LauncherError(
            f"hydra.launcher.devices_per_job={size}: CUDA shows a process one part of a GPU (MIG) at most. Use"
            " hydra.launcher.devices_per_job=1."
        )
    groups = [gpus[start : start + size] for start in range(0, len(gpus) - size + 1, size)]
    # Each device gets a first job before any gets a second.
    if options.per_gpu == AUTO:  # how many fit is not known yet: the jobs of a device share its cores
        shares = split_cores(cores, len(groups))
        at_most = min(map(len, shares))
        return [
            _gpu_slot(group, share, at_most * size) for group, share in [*zip(groups, shares, strict=True)] * at_most
        ]
    groups *= options.fixed_per_gpu or 1
    return [
        _gpu_slot(group, own_cores, size)
        for group, own_cores in zip(groups, split_cores(cores, len(groups)), strict=True)
    ]


def split_cores(cores: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Split the cores into ``count`` groups: all of them, none twice unless there are too few.

    >>> split_cores([0, 1, 2, 3, 4], 2)
    [(0, 1), (2, 3, 4)]
    """
    if count > len(cores):
        return [(cores[i % len(cores)],) for i in range(count)]
    return [tuple(cores[i * len(cores) // count : (i + 1) * len(cores) // count]) for i in range(count)]


def usable_cores() -> list[int]:
    """Return the cores this process may use, hyper-threads of one core side by side."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0), key=lambda core: (_position(core), core))
    return list(range(os.cpu_count() or 1))


def _position(core: int) -> tuple[int, ...]:
    topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        return tuple(int((topology / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        return (0, core)


def _gpu_slot(gpus: Sequence[str], cores: tuple[int, ...], processes: int) -> Slot:
    return _slot(" + ".join(map(display_name, gpus)), ",".join(gpus), cores, processes)


def _slot(device: str, visible: str, cores: tuple[int, ...], processes: int) -> Slot:
    pinned = cores if hasattr(os, "sched_setaffinity") else ()
    return Slot(device, visible, pinned, threads=max(1, len(cores) // processes))


def _name_cores(cores: tuple[int, ...]) -> str:
    """Return ``core 1``, ``cores 0-3`` or ``cores 0,8``."""
    if len(cores) == 1:
        return f"core {cores[0]}"
    consecutive = sorted(cores) == list(range(min(cores), max(cores) + 1))
    return f"cores {min(cores)}-{max(cores)}" if consecutive else f"cores {','.join(map(str, cores))}"
