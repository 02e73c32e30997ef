"""Progress of training in steps and epochs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mcl.data.samplers import Sampler
from mcl.distributed.sharding import SMALLEST
from mcl.training.options import TrainerOptions


class Progress:
    """Count steps and epochs, and decide when to evaluate.

    Args:
        options: ``epochs``, ``max_steps``, ``batch_size`` and ``evaluate_every``.
        steps_per_epoch: batches of an epoch; does not depend on the number of processes.

    Attributes:
        step: optimization steps taken.
        evaluated_step: ``step`` at the last evaluation.
        total_steps: ``step`` at which training ends.
    """

    def __init__(self, options: TrainerOptions, steps_per_epoch: int):
        self.options = options
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        self.evaluated_step = 0
        self._extra = 0  # steps by which earlier epochs were longer than steps_per_epoch
        self.total_steps = options.total_steps(steps_per_epoch)

    @property
    def position(self) -> tuple[int, int]:
        """Epoch of the next step, and its position in that epoch, both from 0."""
        return divmod(self.step - self._extra, self.steps_per_epoch)

    @property
    def epoch(self) -> int:
        """Completed epochs; the last one counts even if training ends within it."""
        return -(-(self.step - self._extra) // self.steps_per_epoch)

    @property
    def total_epochs(self) -> int:
        """``epoch`` at the end of training."""
        return -(-(self.total_steps - self._extra) // self.steps_per_epoch)

    @property
    def evaluation_is_due(self) -> bool:
        """Whether an epoch or training has just ended and has yet to be evaluated."""
        last = self.step >= self.total_steps
        ended = last or (self.step > 0 and self.position[1] == 0)
        return ended and self.evaluated_step < self.step and (last or self.epoch % self.options.evaluate_every == 0)

    @property
    def finished(self) -> bool:
        """Whether all steps are taken and the last one is evaluated."""
        return self.step >= self.total_steps and not self.evaluation_is_due

    def state_dict(self) -> dict[str, int]:
        """Return the position for a checkpoint."""
        return {
            "step": self.step,
            "evaluated_step": self.evaluated_step,
            "steps_per_epoch": self.steps_per_epoch,
            "extra_steps": self._extra,
            "batch_size": self.options.batch_size,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> str | None:
        """Continue in the epoch of a checkpoint.

        Returns:
            A note for the user if the batches have changed, so that an unfinished epoch starts again.
        """
        old_steps_per_epoch = state["steps_per_epoch"]
        self.step, self.evaluated_step = state["step"], state["evaluated_step"]
        epoch, steps_done = divmod(self.step - state["extra_steps"], old_steps_per_epoch)
        changed = old_steps_per_epoch != self.steps_per_epoch or state["batch_size"] != self.options.batch_size
        self._extra = self.step - epoch * self.steps_per_epoch - (0 if changed else steps_done)
        self.total_steps = self.options.total_steps(self.steps_per_epoch, extra=self._extra)
        if not (changed and steps_done) or self.step >= self.total_steps:
            return None
        self.evaluated_step = self.step  # no epoch ends here
        return (
            f"epoch {epoch + 1} starts again: the checkpoint was saved after {steps_done} of its {old_steps_per_epoch}"
            f" steps, and an epoch now has {self.steps_per_epoch} steps of {self.options.batch_size} images."
        )


def upgrade_checkpoint(
    state: Mapping[str, Any], options: TrainerOptions, sampler: Sampler, labels: Tensor
) -> Mapping[str, Any]:
    """Complete a checkpoint of an older version, which lacks the number of steps of an epoch.

    With several processes, these versions skipped the last batch if a process would have got fewer than two images.

    Args:
        state: the checkpoint; its configuration has its batch size.
        options: the current options.
        sampler: the current sampler.
        labels: (N,) labels of the training images.
    """
    if "steps_per_epoch" in state:
        return state
    batch_size = state.get("config", {}).get("trainer", {}).get("batch_size", options.batch_size)
    sizes = [len(batch) for batch in sampler.batches(labels.cpu(), batch_size, seed=0, epoch=0)]
    processes = len(state["random_states"])
    skipped_last = processes > 1 and sizes[-1] < SMALLEST * processes
    old_steps, new_steps = len(sizes) - skipped_last, len(sizes)
    # The other batches of an epoch are the same, so the position in an unfinished epoch stays valid.
    extra = state["step"] // old_steps * (old_steps - new_steps)
    return {**state, "steps_per_epoch": new_steps, "extra_steps": extra, "batch_size": batch_size}
