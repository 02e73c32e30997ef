"""One optimization step: forward, backward, clipping, update."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from mcl import distributed
from mcl.training.learner import Learner
from mcl.training.loss_scaling import LossScaling
from mcl.training.pausing import keep_paused
from mcl.types import Batch, Outputs


class Gradients(NamedTuple):
    """Results of the backward pass that the update needs, apart from the gradients themselves."""

    values: dict[str, Tensor]  # scalars of the step by name
    paused: Tensor | None  # (N,) bool: networks that stay as they are
    overflow: Tensor | None = None  # () float: 1 if the update is skipped (`LossScaling`)


class TrainStep:
    """Take one optimization step on a batch, without synchronizing with the device.

    Args:
        learner: networks and loss.
        model: runs the forward pass: the learner itself, or its `DistributedDataParallel`.
        optimizer: optimizer of the learner's trainable parameters.
        clip_norm: largest norm of the gradient of all trained parameters together; None for no clipping.
        averaged_buffers: buffers that are averaged over processes after each step.
        scaling: scales the loss for a backward pass in float16; None otherwise.
    """

    def __init__(
        self,
        learner: Learner,
        model: Callable[[Batch], tuple[Tensor, dict[str, Tensor], list[Outputs]]],
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
        averaged_buffers: Sequence[Tensor] = (),
        scaling: LossScaling | None = None,
    ):
        self.learner = learner
        self.model = model
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.averaged_buffers = list(averaged_buffers)
        self.scaling = scaling
        self.parameters = learner.trained_parameters()

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Update the parameters. Return the scalars of the step by name, on the device (`Learner.measure`)."""
        values, paused, overflow = self.compute_gradients(batch)
        self.update(paused, overflow)
        if self.averaged_buffers:
            averages = distributed.all_reduce_mean(self.averaged_buffers, distributed.weight(batch.whole))
            torch._foreach_copy_(self.averaged_buffers, averages)
        return values

    def compute_gradients(self, batch: Batch) -> Gradients:
        """Run forward and backward pass, and clip the gradients."""
        total, terms, outputs = self.backpropagate(batch)
        overflow = None if self.scaling is None else self.scaling.unscale()
        values = self.learner.measure(total, terms, outputs, batch)
        norm = self._clip_gradients()
        values["train/grad_norm"] = norm
        if self.scaling is not None:
            values |= self.scaling.measure(norm)
        return Gradients(values, self.learner.loss.paused(), overflow)

    def backpropagate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], list[Outputs]]:
        """Leave the gradients of a batch in the parameters, scaled if there is ``scaling``.

        Returns:
            The weighted total, the raw terms, and the outputs of every network.
        """
        total, terms, outputs = self.model(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.start_backward(total, batch)
        return total, terms, outputs

    def start_backward(self, total: Tensor, batch: Batch) -> None:
        """Run the backward pass from the total of this process's part of a batch."""
        scaled = total if self.scaling is None else self.scaling.scale(total)
        scaled.backward(torch.full_like(total, distributed.weight(batch.whole)))

    def update(self, paused: Tensor | None, overflow: Tensor | None) -> None:
        """Let the optimizer take its step; arguments as in `Gradients`."""
        with keep_paused(self.learner.cohort, self.optimizer, paused):
            if self.scaling is None or overflow is None:
                self.optimizer.step()
            else:
                self.scaling.step(overflow)

    def update_average(self, step: int) -> None:
        """Update the moving average of the networks, if there is one, after a step, counted from 0."""
        self.learner.update_average(step)

    def _clip_gradients(self) -> Tensor:
        """Clip the gradients in place if ``clip_norm`` is set. Return their norm before clipping."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        return norm
