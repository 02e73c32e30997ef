"""The meta round: update a loss's meta-parameters through unrolled steps of the networks."""

from collections.abc import Callable, Sequence

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
    """Steps a loss's meta-parameters along the gradient through a few unrolled steps of the networks.

    From the current weights, the parameters of the cohort and the loss's inner parameters take ``loss.meta.steps`` SGD
    steps on its inner objective and one on its outer objective; the outer objective where they arrive is differentiated
    back to the meta-parameters, which ``optimizer`` then steps. Parameters whose ``requires_grad`` is false are frozen:
    nothing moves them. All else stays as it was to the last bit: parameters and their gradients, buffers, training
    flags, random state. Computed in float32 or better under any autocast.

    Source: layer-wise mutual contrastive learning (L-MCL, TPAMI 2023), the bilevel training of its matching network.

    Args:
        cohort: ``cohort(images)`` gives N outputs; in training mode for batch statistics. It is differentiated twice,
            so it must be the plain module, neither compiled nor wrapped for data parallelism.
        loss: a loss whose ``meta`` is set.
        optimizer: the one of ``loss.meta_parameters()``; its learning rate is its owner's matter.
        weight_decay: weight decay of the unrolled steps.
    """

    def __init__(self, cohort: nn.Module, loss: Loss, optimizer: Optimizer, *, weight_decay: float):
        assert loss.meta is not None, f"{type(loss).__name__} has nothing to meta-learn"
        self.schedule = loss.meta
        self.loss = loss
        self.modules = _Objectives(cohort, loss)
        self.optimizer = optimizer
        self.weight_decay = weight_decay

    def __call__(self, batch: Batch, outer_batch: Batch, lr: float) -> Tensor:
        """One round.

        Args:
            batch: batch of the inner objective.
            outer_batch: batch of the outer objective, the same one or another.
            lr: learning rate of the unrolled steps where the loss's schedule sets none.

        Returns:
            The outer objective after the unrolled steps, a scalar on the device of the batch, without gradient; over
            several processes, of which each sees its share of the batches, the mean.
        """
        batch, outer_batch = _plain_batch(batch), _plain_batch(outer_batch)
        # Batch normalisation and its like write into buffers as they run: let them write into copies.
        # Constants stay where they are: a memory bank is larger than the networks.
        constants = {f"loss.{name}" for name in self.loss.static_buffers()}
        named = self.modules.named_buffers()
        fixed = {name: _plain(buffer).clone() for name, buffer in named if name not in constants}
        parameters = {f"cohort.{name}": value for name, value in self.modules.cohort.named_parameters()}
        parameters |= {f"loss.{name}": value for name, value in self.loss.inner_parameters().items()}
        meta = {f"loss.{name}": value for name, value in self.loss.meta_parameters().items()}
        # Training never moves frozen parameters, so neither do the unrolled steps.
        fixed |= {name: _plain(value) for name, value in (parameters | meta).items() if not value.requires_grad}
        parameters, meta = _trained(parameters), _trained(meta)

        def call(objective: Objective, batch: Batch, tensors: dict[str, Tensor]) -> Tensor:
            with distributed.sharing(batch.whole):
                value = functional_call(self.modules, {**fixed, **tensors}, (objective, batch))
            return value * distributed.weight(batch.whole)

        with torch.autocast(batch.images.device.type, enabled=False), DoubleBackward():
            outer_loss, gradients = meta_gradient(
                lambda parameters, meta: call(self.loss.inner_objective, batch, {**parameters, **meta}),
                lambda parameters: call(self.loss.outer_objective, outer_batch, parameters),
                {name: _plain(value) for name, value in parameters.items()},
                {name: _plain(value) for name, value in meta.items()},
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
        return outer_loss


class _Objectives(nn.Module):
    """Cohort and loss as one module, for `functional_call` to swap the tensors of both at once."""

    def __init__(self, cohort: nn.Module, loss: Loss):
        super().__init__()
        self.cohort = cohort
        self.loss = loss

    def forward(self, objective: Objective, batch: Batch) -> Tensor:
        return objective(self.cohort(batch.images), batch)


def _trained(parameters: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    return {name: value for name, value in parameters.items() if value.requires_grad}


def _plain(tensor: Tensor) -> Tensor:
    """Detached, float32 or better."""
    dtype = torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(dtype)


def _plain_batch(batch: Batch) -> Batch:
    return batch._replace(images=_plain(batch.images))
