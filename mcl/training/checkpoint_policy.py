"""The policy of saving checkpoints within an epoch and of stopping at signals."""

import time

from mcl.distributed.process_group import ProcessGroup
from mcl.signals import StopSignals
from mcl.training.options import TrainerOptions


class CheckpointPolicy:
    """Decide when to save and when to stop; all processes of a run take the same decision.

    Args:
        options: ``checkpoint_every`` and ``checkpoint_minutes``.
        processes: the processes of the run.
        signals: the stop signals that reach this process.
    """

    def __init__(self, options: TrainerOptions, processes: ProcessGroup, signals: StopSignals):
        self.steps, self.minutes = options.checkpoint_every, options.checkpoint_minutes
        self.processes = processes
        self.signals = signals
        self._last_save = time.monotonic()

    def due(self, step: int) -> bool:
        """Return whether this process finds a checkpoint due after ``step`` steps."""
        if self.steps is not None and step % self.steps == 0:
            return True
        return self.minutes is not None and time.monotonic() - self._last_save >= 60 * self.minutes

    def agree(self, *, due: bool = False) -> bool:
        """Return whether any process finds a checkpoint due.

        Raises:
            Stopped: a signal has reached one of the processes; raised in all of them.
        """
        signal_number, due_anywhere = self.processes.all_reduce_max(self.signals.number, int(due))
        self.signals.check(signal_number)
        return bool(due_anywhere)

    def record_save(self) -> None:
        """Restart the clock of ``checkpoint_minutes``."""
        self._last_save = time.monotonic()
