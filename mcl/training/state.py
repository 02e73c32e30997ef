"""The state of training: networks, loss, optimizers and progress."""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from mcl.data.samplers import Sampler
from mcl.distributed.process_group import ProcessGroup
from mcl.errors import UserError
from mcl.training.averaging import match_average
from mcl.training.highest_memory import HighestMemory
from mcl.training.learner import Learner
from mcl.training.loss_scaling import LossScaling
from mcl.training.lr_factors import PART
from mcl.training.meters import Meters, NonFiniteLoss
from mcl.training.optimizers import match_state_strides
from mcl.training.options import TrainerOptions
from mcl.training.progress import Progress, upgrade_checkpoint
from mcl.training.random_state import random_state, resume_random_state
from mcl.training.results import Results
from mcl.training.throughput import Throughput

logger = logging.getLogger(__name__)

_IN_GROUPS = ("lr", "step")  # state that optimizers keep in their groups; those of timm count their steps there


@dataclass
class TrainingState:
    """Everything that a checkpoint holds. Data order and augmentation follow from the seed and the step.

    Args:
        options: options of training.
        learner: networks and loss.
        optimizers: optimizer of the trainable parameters, then that of the meta-parameters if the loss has any.
        progress: steps and epochs.
        results: accuracies so far.
        processes: the processes that train together.
        sampler, labels: sampler and labels of the training images, needed to load checkpoints of older versions.
        seed: seed of the batches and of their augmentation.
        data: fingerprint of the images.
        meters: running averages since the last log point.
        throughput: images and seconds so far.
        memory: peak memory so far.
        best: state dict of each backbone at its best epoch, by network key; on the CPU, in the first process only.
        outer_loss: loss of the last meta round; None once it is logged.
        outer_step: the step that this meta round followed.
        scaling: scale of the loss in float16; None otherwise.
    """

    options: TrainerOptions
    learner: Learner
    optimizers: list[Optimizer]
    progress: Progress
    results: Results
    processes: ProcessGroup
    sampler: Sampler
    labels: Tensor
    seed: int
    data: str
    meters: Meters = field(default_factory=Meters)
    throughput: Throughput = field(default_factory=Throughput)
    memory: HighestMemory = field(default_factory=HighestMemory)
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    outer_loss: Tensor | None = None
    outer_step: int = 0
    scaling: LossScaling | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the content of a checkpoint. Every process must call this; synchronizes with the device.

        Raises:
            NonFiniteLoss: a step or a meta round since the last log point was not finite.
        """
        with self._naming_meta_round():  # before the outer loss: if training diverged, this names the step
            meters = self.meters.state_dict()
        self.read_outer_loss()
        return {
            **self.progress.state_dict(),
            "processes": self.processes.world_size,
            "data": self.data,
            "learner": self.learner.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "meters": meters,
            "outer_loss": self.outer_loss,
            **({} if self.scaling is None else {"loss_scaling": self.scaling.state_dict()}),
            "results": self.results.state_dict(),
            "best": self.best,
            **self.throughput.state_dict(),
            "peak_memory": self.memory.read(),
            "random_states": self.processes.all_gather_object(random_state(self.options.device)),
        }

    def read_meters(self) -> dict[str, float]:
        """Return the averages since the last log point, and reset them. Synchronizes with the device.

        Raises:
            NonFiniteLoss: a step was not finite.
        """
        with self._naming_meta_round():
            return self.meters.read()

    @contextmanager
    def _naming_meta_round(self) -> Iterator[None]:
        """Let the error of a step that is not finite begin with the meta round before it, if that was not either."""
        try:
            yield
        except NonFiniteLoss as error:
            if self.outer_step < error.step:
                try:
                    self.read_outer_loss()
                except NonFiniteLoss as earlier:
                    raise NonFiniteLoss(f"{earlier} After it, {error}", error.step) from error
            raise

    def read_outer_loss(self) -> float | None:
        """Return the loss of the last meta round; None if it is logged already. Synchronizes with the device.

        Raises:
            NonFiniteLoss: it is not finite, and so neither are the meta-parameters.
        """
        if self.outer_loss is None:
            return None
        value = float(self.outer_loss)
        if not math.isfinite(value):
            raise NonFiniteLoss(
                f"the meta round is not finite: outer_loss={value:g}. Nothing was saved after it. Try a smaller"
                " loss.meta.lr, or optimizer.lr if that is null."
            )
        return value

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            UserError: it belongs to other networks or to another loss, or is beyond the last step.
        """
        try:
            self._load(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                "The checkpoint was trained with other networks or another loss than these settings name"
                f" ({_first_difference(self.learner.state_dict(), state.get('learner', {})) or error}). Give the pair="
                " and the loss= of the checkpoint, another hydra.run.dir=FOLDER, or start over with resume=never."
            ) from error
        done, total = self.progress.step, self.progress.total_steps
        if done > total:  # resume=force: these results would count as those of a shorter run
            raise UserError(
                f"The checkpoint is of step {done:,}, but with these settings training ends at step {total:,}. Train at"
                " least as long, or start over with resume=never."
            )

    def _load(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(match_average(state["learner"], wanted=self.learner.average is not None))
        if "optimizers" in state:  # absent if another optimizer continues
            # With resume=force, the optimizer of the meta-parameters may be new, or gone (loss.meta=null).
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=False):
                if _groups(optimizer.state_dict()) == _groups(saved):
                    _load_optimizer(optimizer, saved)
                elif self.processes.first:  # resume=force
                    logger.warning("the checkpoint trained other parameters: the state of the optimizer starts anew.")
        if "meters" in state:  # absent if changed settings would mix two losses in one average
            self.meters.load_state_dict(state["meters"], self.options.device)
        self.outer_loss = state["outer_loss"]
        if self.scaling is not None and "loss_scaling" in state:
            self.scaling.load_state_dict(state["loss_scaling"])
        self.results.load_state_dict(state["results"])
        self.best = dict(state["best"])
        note = self.progress.load_state_dict(upgrade_checkpoint(state, self.options, self.sampler, self.labels))
        if note is not None and self.processes.first:
            logger.warning("%s", note)
        self.throughput.load_state_dict(state)
        self.memory.load(state)
        resume_random_state(
            state["random_states"], self.seed, self.processes.rank, self.progress.step, self.options.device
        )


def _first_difference(weights: Mapping[str, Any], saved: Mapping[str, Any]) -> str | None:
    """Name the first tensor that is missing in a checkpoint, not expected there, or of another shape."""
    for name in [*weights, *saved]:
        here, there = (tuple(each[name].shape) if name in each else None for each in (weights, saved))
        if here != there:
            return f"{name}: {there or 'missing'} in the checkpoint, {here or 'missing'} here"
    return None


def _groups(saved: Mapping[str, Any]) -> list[tuple[str | None, int]]:
    """Return the part of the networks and the number of parameters of each group of an optimizer."""
    return [(group.get(PART), len(group["params"])) for group in saved["param_groups"]]


def _load_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load momentum buffers, learning rates and counts of steps; all other settings come from the configuration."""
    pairs = zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
    groups = [
        {**configured, **{name: stored[name] for name in _IN_GROUPS if name in stored}} for configured, stored in pairs
    ]
    optimizer.load_state_dict({**saved, "param_groups": groups})
    match_state_strides(optimizer)
