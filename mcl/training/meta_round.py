"""The meta round: update a loss's meta-parameters through unrolled steps of the networks."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from mcl import distributed
from mcl.double_backward import DoubleBackward
from mcl.losses.base import Loss
from mcl.meta import meta_gradient
from mcl.types import Batch, Outputs

Objective = Callable[[Sequence[Outputs], Batch], Tensor]


class MetaRound:
    """Step a loss's meta-parameters along the gradient through a few unrolled steps of the networks.

    From the current weights, the parameters of the cohort and the loss's inner parameters take ``loss.meta.steps`` SGD
    steps on its inner objective and one on its outer objective. The outer objective at the resulting weights is
    differentiated with respect to the meta-parameters, and ``optimizer`` updates them. Everything else keeps its exact
    value: parameters and their gradients, buffers, training flags, random state. Frozen parameters (``requires_grad``
    false) stay fixed in the unrolled steps too. The computation runs in float32 or float64, regardless of autocast.

    Source: layer-wise mutual contrastive learning (L-MCL, TPAMI 2023), the bilevel training of its matching network.

    Args:
        cohort: the networks, in training mode. They are differentiated twice, so they must be neither compiled nor
            wrapped for data parallelism.
        loss: a loss whose ``meta`` is set.
        optimizer: optimizer of ``loss.meta_parameters()``; the caller sets its learning rate.
        weight_decay: weight decay in the unrolled steps, of all parameters or of each by its name: ``cohort.NAME`` or
            ``loss.NAME``.
    """

    def __init__(
        self,
        cohort: nn.Module,
        loss: Loss,
        optimizer: Optimizer,
        *,
        weight_decay: float | Mapping[str, float],
    ):
        assert loss.meta is not None, f"{type(loss).__name__} has nothing to meta-learn"
        self.schedule = loss.meta
        self.loss = loss
        self.modules = _Objectives(cohort, loss)
        # Networks that share a module have its tensors under several names. torch would swap each of them, and put back
        # what the first one had left; given one name for each, it must not look for the others.
        self.tied = getattr(cohort, "shared", None) is None
        self.optimizer = optimizer
        self.weight_decay = weight_decay

    def __call__(self, batch: Batch, outer_batch: Batch, lr: float) -> Tensor:
        """Run one round.

        Args:
            batch: batch of the inner objective.
            outer_batch: batch of the outer objective; may be the same.
            lr: learning rate of the unrolled steps if the loss's schedule sets none.

        Returns:
            The outer objective after the unrolled steps, a detached scalar on the device; the mean over processes. NaN
            if the gradient is not finite, and so neither are the meta-parameters.
        """
        batch, outer_batch = _detach_batch(batch), _detach_batch(outer_batch)
        # Layers such as batch normalization write into buffers as they run: let them write into copies.
        # Static buffers are not copied: a memory bank is larger than the networks.
        static = {f"loss.{name}" for name in self.loss.static_buffers()}
        buffers = self.modules.named_buffers()
        fixed = {name: _detach_to_float32(buffer).clone() for name, buffer in buffers if name not in static}
        parameters = {f"cohort.{name}": value for name, value in self.modules.cohort.named_parameters()}
        parameters |= {f"loss.{name}": value for name, value in self.loss.inner_parameters().items()}
        meta = {f"loss.{name}": value for name, value in self.loss.meta_parameters().items()}
        fixed |= {
            name: _detach_to_float32(value) for name, value in (parameters | meta).items() if not value.requires_grad
        }
        parameters, meta = _trainable(parameters), _trainable(meta)

        def call(objective: Objective, batch: Batch, tensors: dict[str, Tensor]) -> Tensor:
            with distributed.sharing(batch.whole):
                value = functional_call(self.modules, {**fixed, **tensors}, (objective, batch), tie_weights=self.tied)
            return value * distributed.weight(batch.whole)

        with torch.autocast(batch.images.device.type, enabled=False), DoubleBackward():
            outer_loss, gradients = meta_gradient(
                lambda parameters, meta: call(self.loss.inner_objective, batch, {**parameters, **meta}),
                lambda parameters: call(self.loss.outer_objective, outer_batch, parameters),
                {name: _detach_to_float32(value) for name, value in parameters.items()},
                {name: _detach_to_float32(value) for name, value in meta.items()},
                steps=self.schedule.steps,
                lr=lr if self.schedule.lr is None else self.schedule.lr,
                momentum=self.schedule.momentum,
                weight_decay=self.weight_decay,
                memory=self.schedule.memory,
                reduce=distributed.all_reduce_mean,
            )
        for name, parameter in meta.items():
            parameter.grad = gradients[name].to(parameter.dtype)
        self.optimizer.step()
        if not gradients:
            return outer_loss
        finite = torch.stack([gradient.isfinite().all() for gradient in gradients.values()]).all()
        return outer_loss.masked_fill(~finite, math.nan)


class _Objectives(nn.Module):
    """Hold cohort and loss in one module, so that `functional_call` swaps the tensors of both."""

    def __init__(self, cohort: nn.Module, loss: Loss):
        super().__init__()
        self.cohort = cohort
        self.loss = loss

    def forward(self, objective: Objective, batch: Batch) -> Tensor:
        return objective(self.cohort(batch.images), batch)


def _trainable(parameters: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    return {name: value for name, value in parameters.items() if value.requires_grad}


def _detach_to_float32(tensor: Tensor) -> Tensor:
    """Return the tensor detached, floating point in float32 or float64."""
    dtype = torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(dtype)


def _detach_batch(batch: Batch) -> Batch:
    return batch._replace(images=_detach_to_float32(batch.images))
