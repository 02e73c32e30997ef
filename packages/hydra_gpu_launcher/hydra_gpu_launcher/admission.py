"""Which job may start on which GPU now: by the memory that jobs of its kind needed, and by what others use."""

import time
from collections.abc import Iterable, Mapping

from hydra_gpu_launcher.attempt import Attempt
from hydra_gpu_launcher.gpu_monitor import GpuMonitor, Usage
from hydra_gpu_launcher.gpus import display_name
from hydra_gpu_launcher.job import Outcome
from hydra_gpu_launcher.launch_options import AUTO, Options
from hydra_gpu_launcher.slots import Slot

INTERVAL = 1.0  # seconds between two readings
MARGIN = 1.1  # jobs must fit with a tenth to spare: memory is fragmented, and other kernels take other workspaces
IDLE_MEMORY = 2**29  # bytes in use on a GPU that nobody uses: a desktop may take some, a program of CUDA takes more
IDLE_UTILIZATION = 5  # percent
STEADY = 3  # readings in a row in which a GPU must be idle: between two steps or two jobs of others it may look so


class Admission:
    """Decides whether a job may start in a free slot.

    The memory that a kind of job needs is measured on the first one, which runs alone on its GPU: what is in use there
    beyond what was before, at most, until `Job.milestone` grows: then every part of the job has run once. Further jobs
    wait for that.

    Args:
        options: options of the launcher.
        monitor: reads the usage of the GPUs; None if the options do not need it.
    """

    def __init__(self, options: Options, monitor: GpuMonitor | None = None):
        self._options = options
        self._monitor = monitor
        self._read_at = 0.0  # time of the next reading
        self._usage: dict[str, Usage] = {}  # by GPU, as are the next three
        self._before: dict[str, int] = {}  # bytes in use when no job ran there
        self._idle_readings: dict[str, int] = {}  # in a row
        self._reported: set[str] = set()  # in use by others
        self._peaks: dict[Attempt, int] = {}  # bytes, of jobs that run alone
        self._milestones: dict[Attempt, int] = {}  # when the attempt began
        self._needs: dict[str, int] = {}  # bytes for each GPU of a job, by kind

    def update(self, running: Mapping[Attempt, Outcome]) -> list[str]:
        """Read the GPUs if it is time to. Return notes for the user."""
        if self._monitor is None or time.monotonic() < self._read_at:
            return []
        self._read_at = time.monotonic() + INTERVAL
        alone = [attempt for attempt in running if not attempt.shared]
        complete = [attempt for attempt in alone if self._has_run_all_parts(attempt)]  # before the memory is read
        self._usage = self._monitor()
        occupied = {gpu for attempt in running for gpu in attempt.slot.gpus}
        for gpu, usage in self._usage.items():
            idle = gpu not in occupied and _is_idle(usage)
            self._idle_readings[gpu] = self._idle_readings.get(gpu, 0) + 1 if idle else 0
            if gpu not in occupied:
                self._before[gpu] = usage.used
        for attempt in alone:
            self._measure(attempt)
        for attempt in complete:
            self._record(attempt)
        return list(self._notes(occupied)) if self._options.wait_for_free else []

    def started(self, attempt: Attempt) -> None:
        """Take note of a job that begins."""
        if self._monitor is not None:
            self._milestones[attempt] = attempt.job.milestone(0.0)

    def admits(self, outcome: Outcome, slot: Slot, running: Mapping[Attempt, Outcome]) -> bool:
        """Return whether this job may start in this slot now."""
        beside = [other for attempt, other in running.items() if attempt.slot.visible == slot.visible]
        if not beside:
            return not slot.gpus or self._is_free(slot)
        if outcome.alone or any(other.alone for other in beside):
            return False
        if self._options.per_gpu != AUTO or not slot.gpus:
            return True
        needs = [self._needs.get(other.job.kind) for other in (outcome, *beside)]
        known = [need for need in needs if need is not None]
        return len(known) == len(needs) and all(self._fits(gpu, known) for gpu in slot.gpus)

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take note of the end of a job: one that has finished alone is measured, however short it was."""
        if outcome.finished and not attempt.shared:
            self._record(attempt)
        self._peaks.pop(attempt, None)
        self._milestones.pop(attempt, None)

    def ran_out_of_memory(self, outcome: Outcome) -> None:
        """Take note that jobs of this kind need more memory than was measured."""
        if outcome.job.kind in self._needs:
            self._needs[outcome.job.kind] = int(self._needs[outcome.job.kind] * 1.5)

    def _has_run_all_parts(self, attempt: Attempt) -> bool:
        return attempt.job.milestone(attempt.seconds) > self._milestones[attempt]

    def _measure(self, attempt: Attempt) -> None:
        grown = [self._usage[gpu].used - self._before.get(gpu, 0) for gpu in attempt.slot.gpus if gpu in self._usage]
        self._peaks[attempt] = max([self._peaks.get(attempt, 0), *grown])

    def _record(self, attempt: Attempt) -> None:
        if peak := self._peaks.get(attempt, 0):  # 0: it ended before anything was read
            self._needs[attempt.job.kind] = max(self._needs.get(attempt.job.kind, 0), peak)

    def _fits(self, gpu: str, needs: list[int]) -> bool:
        """Return whether the first of these jobs fits beside the others, which may not have reached their peaks yet."""
        usage = self._usage.get(gpu)
        if usage is None:
            return False
        left = usage.total - self._before.get(gpu, 0)
        return sum(needs) * MARGIN <= left and needs[0] * MARGIN <= usage.free

    def _is_free(self, slot: Slot) -> bool:
        if self._options.wait_for_free:
            return all(self._idle_readings.get(gpu, 0) >= STEADY for gpu in slot.gpus)
        return self._monitor is None or all(gpu in self._before for gpu in slot.gpus)

    def _notes(self, occupied: set[str]) -> Iterable[str]:
        for gpu, usage in self._usage.items():
            if gpu in occupied or _is_idle(usage):
                self._reported.discard(gpu)
            elif gpu not in self._reported:
                self._reported.add(gpu)
                busy = "" if usage.utilization is None else f", {usage.utilization} % busy"
                yield f"{display_name(gpu)} is in use by others ({usage.used / 2**30:.1f} GiB{busy}); jobs wait for it"


def _is_idle(usage: Usage) -> bool:
    return usage.used <= IDLE_MEMORY and (usage.utilization or 0) <= IDLE_UTILIZATION
