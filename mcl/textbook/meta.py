"""The gradient through unrolled SGD steps as one would write it on a blackboard: autograd over the whole loop."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def meta_gradient(
    inner: Callable[[Tensors, Tensors], Tensor],
    outer: Callable[[Tensors], Tensor],
    parameters: Mapping[str, Tensor],
    meta_parameters: Mapping[str, Tensor],
    *,
    steps: int,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> tuple[Tensor, Tensors]:
    """As `mcl.meta.meta_gradient`, of objectives that depend on at least one of the parameters."""
    phi = {name: value.detach().requires_grad_() for name, value in meta_parameters.items()}
    theta = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    velocity = {name: torch.zeros_like(value) for name, value in theta.items()}
    for step in range(steps + 1):
        loss = inner(theta, phi) if step < steps else outer(theta)
        gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True, materialize_grads=True)
        for name, gradient in zip(theta, gradients, strict=True):
            velocity[name] = momentum * velocity[name] + gradient + weight_decay * theta[name]
        theta = {name: value - lr * velocity[name] for name, value in theta.items()}
    outer_loss = outer(theta)
    gradients = torch.autograd.grad(outer_loss, list(phi.values()), materialize_grads=True)
    return outer_loss.detach(), dict(zip(phi, gradients, strict=True))
