"""Replay training steps as CUDA graphs: ``trainer.capture``."""

import logging
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from mcl.errors import UserError, causes
from mcl.training.learner import Learner
from mcl.training.options import TrainerOptions
from mcl.training.recording import CudaGraphs, Recorded, Recorder
from mcl.training.train_step import TrainStep
from mcl.types import Batch, Mixed

logger = logging.getLogger(__name__)

WARM_UP = 2  # steps before static buffers are made; one more runs on these before the first recording


def graph_recorder(options: TrainerOptions, learner: Learner, world_size: int) -> Recorder | None:
    """Return what records the steps of a training, or None if they run as they are; logs why, except on other devices.

    Args:
        options: ``capture``, ``compile`` and the device.
        learner: networks and loss.
        world_size: number of processes that train together.
    """
    if options.capture == "off" or options.device.type != "cuda":
        return None
    reason = obstacle(options, learner, world_size)
    if reason is not None:
        _log_fallback(reason)
        return None
    return CudaGraphs(options.device, _generators(learner))


def obstacle(options: TrainerOptions, learner: Learner, world_size: int) -> str | None:
    """Return why the steps of a training cannot be recorded, or None if nothing is known to prevent it."""
    name = type(learner.loss).__name__
    if world_size > 1:
        return f"{world_size} processes train together"
    if not learner.loss.capturable:
        return f"the loss {name} does not declare that its steps can be replayed: see `capturable` in docs/extend.md"
    if options.accumulate > 1:
        return f"trainer.accumulate={options.accumulate} repeats the random numbers of each chunk"
    if options.compile == "reduce-overhead":
        return "trainer.compile=reduce-overhead records the networks by itself"
    if any(generator.device.type != options.device.type for generator in _generators(learner)):
        return "a module draws from a random generator on another device"
    return None


class CapturedStep(TrainStep):
    """A `TrainStep` that is recorded after the first steps, and replayed.

    There are three recordings, so that a change of one number repeats as little as possible: forward pass, backward
    pass, clipping and the scalars of the step, which read the weights of terms; the optimizer, which reads the learning
    rate; and the moving average, which reads its decay. Whatever does not fit runs as in `TrainStep`: batches of
    another size, such as the last one of an epoch, and the first step with other numbers. The results are the same.

    Args:
        recorder: records on the device of the learner.
        arguments, options: as for `TrainStep`.
    """

    def __init__(self, recorder: Recorder, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.recorder = recorder
        self.enabled = True  # otherwise steps run as those of `TrainStep`
        self._sizes: Counter[Hashable] = Counter()
        self._size: Hashable = None  # that of the recorded batches
        self._batch: Batch | None = None  # the static buffers that the recording reads
        self._result: _Result | None = None
        self._decay = 0.0
        self._gradients = Recorded(recorder, self._run_gradients, self._loss_numbers, self._fall_back)
        self._update = Recorded(recorder, self._run_update, self._update_numbers, self._fall_back)
        self._average = Recorded(recorder, self._run_average, lambda: self._decay, self._fall_back)
        self._records_update = bool(self.optimizer.defaults.get("fused"))
        if not self._records_update:
            name = type(self.optimizer).__name__
            logger.warning("trainer.capture: %s has no fused form here, so its own steps are not replayed.", name)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        if not self.enabled:
            return super().__call__(batch)
        if not self._load(batch):
            return self.run(batch)
        state = self.recorder.host_state()
        self._result = self._gradients()
        if self._gradients.replayed:
            for parameter, gradient in zip(self.parameters, self._result.gradients, strict=True):
                parameter.grad = gradient  # a step that was not replayed has put its own here
        if self._gradients.replayed and self._records_update:
            self._update()
        else:
            self._update.run()
        if not self._gradients.replayed:
            self._check_host(state)
        # A copy, because the next replay writes the row anew.
        return dict(zip(self._result.names, self._result.row.clone().unbind(), strict=True))

    def run(self, batch: Batch) -> dict[str, Tensor]:
        """Take a step that is neither recorded nor replayed."""
        state = self.recorder.host_state()
        with self.recorder.side_stream():
            values = super().__call__(batch)
        self._check_host(state)
        # Without their graph: its nodes belong to this stream, and a recording must not meet them.
        return {name: value.detach() for name, value in values.items()}

    def update_average(self, step: int) -> None:
        if self.learner.average is None:
            return
        self._decay = self.learner.decay(step)
        if self.enabled:
            self._average()
        else:
            self._run_average()

    def _load(self, batch: Batch) -> bool:
        """Copy a batch into the static buffers. Return whether it has their size."""
        size = (batch.images.shape, batch.images.dtype, len(batch.labels), batch.whole, batch.mixed is None)
        if self._size is None:
            self._sizes[size] += 1
            if self._sizes[size] <= WARM_UP:
                return False
            self._size = size
            step = torch.zeros((), dtype=torch.int64, device=batch.labels.device)
            images, labels, indices = (torch.empty_like(tensor) for tensor in batch[:3])
            mixed = None if batch.mixed is None else Mixed(*map(torch.empty_like, batch.mixed))
            self._batch = Batch(images, labels, indices, step, batch.whole, mixed)
        if size != self._size:
            return False
        assert self._batch is not None
        assert isinstance(self._batch.step, Tensor)
        statics = (*self._batch[:3], *(self._batch.mixed or ()))
        for static, tensor in zip(statics, (*batch[:3], *(batch.mixed or ())), strict=True):
            static.copy_(tensor, non_blocking=True)
        self._batch.step.fill_(batch.step)
        return True

    def _run_gradients(self) -> "_Result":
        assert self._batch is not None
        values, paused, overflow = self.compute_gradients(self._batch)
        row = torch.stack([value.detach() for value in values.values()])
        return _Result(tuple(values), row, [parameter.grad for parameter in self.parameters], paused, overflow)

    def _run_update(self) -> None:
        assert self._result is not None
        with _declared_capturable(self.optimizer) if _is_capturing() else nullcontext():
            self.update(self._result.paused, self._result.overflow)

    def _run_average(self) -> None:
        self.learner.move_average(self._decay)

    def _loss_numbers(self) -> Hashable:
        """Return the weights of the terms, and all numbers and flags that the loss holds."""
        loss = self.learner.loss
        own = {name: value for name, value in vars(loss).items() if isinstance(value, int | float | str)}
        return tuple(loss.weights.items()), tuple(own.items())

    def _update_numbers(self) -> Hashable:
        groups = ((name, value) for group in self.optimizer.param_groups for name, value in group.items())
        return self._gradients.recordings, tuple((name, value) for name, value in groups if name != "params")

    def _check_host(self, state: Hashable) -> None:
        if self.enabled and self.recorder.host_state() != state:
            self._stop("a step draws random numbers on the host, which a replay would repeat")

    def _fall_back(self, error: Exception) -> None:
        reason = (str(causes(error)[-1]).strip() or type(error).__name__).splitlines()[0]
        if not self.recorder.recovers:
            raise UserError(
                f"trainer.capture: a step could not be recorded as a CUDA graph ({reason}), and PyTorch"
                f" {torch.__version__} cannot go on after that. Run the same command with trainer.capture=off, or with"
                " PyTorch 2.13 or later."
            ) from error
        self._stop(f"recording failed ({reason})")

    def _stop(self, reason: str) -> None:
        self.enabled = False
        _log_fallback(reason)


class _Result(NamedTuple):
    """Static tensors of a recorded forward and backward pass."""

    names: tuple[str, ...]
    row: Tensor  # (names,) scalars of the step
    gradients: list[Tensor | None]
    paused: Tensor | None
    overflow: Tensor | None


def _log_fallback(reason: str) -> None:
    logger.warning("trainer.capture: steps run without CUDA graphs: %s.", reason)


def _generators(learner: Learner) -> list[torch.Generator]:
    """Return the generators that modules hold."""
    return [
        value for module in learner.modules() for value in vars(module).values() if isinstance(value, torch.Generator)
    ]


def _is_capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


@contextmanager
def _declared_capturable(optimizer: Optimizer) -> Iterator[None]:
    """Let Adam run while a graph is recorded: its fused kernels can, but it asks for an option that others need."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    before = [group["capturable"] for group in groups]
    try:
        for group in groups:
            group["capturable"] = True
        yield
    finally:
        for group, value in zip(groups, before, strict=True):
            group["capturable"] = value
