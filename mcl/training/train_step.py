"""One optimization step: forward, backward, clipping, update."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from mcl import distributed
from mcl.training.learner import Learner
from mcl.training.pausing import keep_paused
from mcl.types import Batch, Outputs


class TrainStep:
    """Take one optimization step on a batch, without synchronizing with the device.

    Args:
        learner: networks and loss.
        model: runs the forward pass: the learner itself, or its `DistributedDataParallel`.
        optimizer: optimizer of the learner's trainable parameters.
        clip_norm: largest norm of the gradient of all trained parameters together; None for no clipping.
        averaged_buffers: buffers that are averaged over processes after each step.
    """

    def __init__(
        self,
        learner: Learner,
        model: Callable[[Batch], tuple[Tensor, dict[str, Tensor], list[Outputs]]],
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
        averaged_buffers: Sequence[Tensor] = (),
    ):
        self.learner = learner
        self.model = model
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.averaged_buffers = list(averaged_buffers)
        self.parameters = learner.trained_parameters()

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Update the parameters. Return the scalars of the step by name, on the device (`Learner.measure`)."""
        weight = distributed.weight(batch.whole)
        total, terms, outputs = self.model(batch)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward(torch.full_like(total, weight))
        values = self.learner.measure(total, terms, outputs, batch)
        values["train/grad_norm"] = self._clip_gradients()
        with keep_paused(self.learner.cohort, self.optimizer, self.learner.loss.paused()):
            self.optimizer.step()
        if self.averaged_buffers:
            averages = distributed.all_reduce_mean(self.averaged_buffers, weight)
            torch._foreach_copy_(self.averaged_buffers, averages)
        return values

    def _clip_gradients(self) -> Tensor:
        """Clip the gradients in place if ``clip_norm`` is set. Return their norm before clipping."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        return norm
