"""Progress of training, in optimization steps and in epochs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mcl.data.samplers import Sampler
from mcl.distributed.sharding import SMALLEST
from mcl.training.options import TrainerOptions


class Progress:
    """The position of a run, and what is due there.

    Args:
        options: its ``epochs``, ``max_steps``, ``batch_size`` and ``evaluate_every`` count.
        steps_per_epoch: the same for any number of processes.

    Attributes:
        step: optimization steps taken so far.
        evaluated_step: ``step`` at the last evaluation.
        total_steps: ``step`` at which training ends.
    """

    def __init__(self, options: TrainerOptions, steps_per_epoch: int):
        self.options = options
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        self.evaluated_step = 0
        self._extra = 0  # steps beyond those of the epochs so far, taken when an epoch had another number of steps
        self.total_steps = options.total_steps(steps_per_epoch)

    @property
    def position(self) -> tuple[int, int]:
        """The epoch of the next step, from 0, and the step's number in that epoch."""
        return divmod(self.step - self._extra, self.steps_per_epoch)

    @property
    def epoch(self) -> int:
        """Epochs completed, an unfinished one at the end of training included."""
        return -(-(self.step - self._extra) // self.steps_per_epoch)

    @property
    def total_epochs(self) -> int:
        """``epoch`` at the end of training."""
        return -(-(self.total_steps - self._extra) // self.steps_per_epoch)

    @property
    def evaluation_is_due(self) -> bool:
        """Whether an epoch, or training, has just ended, is to be evaluated, and was not yet."""
        last = self.step >= self.total_steps
        ended = last or (self.step > 0 and self.position[1] == 0)
        return ended and self.evaluated_step < self.step and (last or self.epoch % self.options.evaluate_every == 0)

    @property
    def finished(self) -> bool:
        """Whether all steps are taken and evaluated."""
        return self.step >= self.total_steps and not self.evaluation_is_due

    def state_dict(self) -> dict[str, int]:
        """For a checkpoint."""
        return {
            "step": self.step,
            "evaluated_step": self.evaluated_step,
            "steps_per_epoch": self.steps_per_epoch,
            "extra_steps": self._extra,
            "batch_size": self.options.batch_size,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> str | None:
        """Continue from a checkpoint, in the epoch that it was in.

        Args:
            state: what ``state_dict`` gave.

        Returns:
            A note, where the batches are others now, so that an unfinished epoch is trained again from its beginning.
        """
        before = state["steps_per_epoch"]
        self.step, self.evaluated_step = state["step"], state["evaluated_step"]
        epoch, done = divmod(self.step - state["extra_steps"], before)
        changed = before != self.steps_per_epoch or state["batch_size"] != self.options.batch_size
        self._extra = self.step - epoch * self.steps_per_epoch - (0 if changed else done)
        self.total_steps = self.options.total_steps(self.steps_per_epoch, extra=self._extra)
        if not (changed and done) or self.step >= self.total_steps:
            return None
        self.evaluated_step = self.step  # no epoch ends here
        return (
            f"epoch {epoch + 1} starts again: the checkpoint was {done} of {before} steps into it, and an epoch has"
            f" {self.steps_per_epoch} steps of {self.options.batch_size} images now."
        )


def with_progress(
    state: Mapping[str, Any], options: TrainerOptions, sampler: Sampler, labels: Tensor
) -> Mapping[str, Any]:
    """Complete a checkpoint of an older version, which did not say how many steps an epoch had.

    Several processes left out a last batch that gave each of them fewer than two images.

    Args:
        state: the checkpoint.
        options, sampler: the present ones. The checkpoint's own batch size is in its configuration.
        labels: (N,) of the training images.
    """
    if "steps_per_epoch" in state:
        return state
    batch_size = state.get("config", {}).get("trainer", {}).get("batch_size", options.batch_size)
    sizes = [len(batch) for batch in sampler.batches(labels.cpu(), batch_size, seed=0, epoch=0)]
    processes = len(state["random_states"])
    left_out = processes > 1 and sizes[-1] < SMALLEST * processes
    before, now = len(sizes) - left_out, len(sizes)
    # The batches of an epoch are the same with the last one: the position in an unfinished epoch holds.
    extra = state["step"] // before * (before - now)
    return {**state, "steps_per_epoch": now, "extra_steps": extra, "batch_size": batch_size}
