"""The gradient through unrolled SGD steps, written for reading, in two ways.

Autograd over the whole loop is the definition, and holds the graphs of all steps in memory. With copies of the states
between the steps, each step is taken first without a graph, and again with one on the way back.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class State(NamedTuple):
    """The state of SGD with momentum: parameters and their velocities, by the same names."""

    theta: Tensors
    velocity: Tensors

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters, then the velocities."""
        return [*self.theta.values(), *self.velocity.values()]


def sgd_step(
    loss: Tensor,
    state: State,
    *,
    lr: float,
    momentum: float,
    weight_decay: float | Mapping[str, float],
    create_graph: bool = True,
) -> State:
    """Return the state after one step on a loss of ``state.theta``; differentiable with ``create_graph``."""
    theta, velocity = {}, {}
    parameters = list(state.theta.values())
    gradients = torch.autograd.grad(loss, parameters, create_graph=create_graph, materialize_grads=True)
    for (name, value), gradient in zip(state.theta.items(), gradients, strict=True):
        decay = weight_decay[name] if isinstance(weight_decay, Mapping) else weight_decay
        velocity[name] = momentum * state.velocity[name] + gradient + decay * value
        theta[name] = value - lr * velocity[name]
    return State(theta, velocity)


def meta_gradient(
    inner: Callable[[Tensors, Tensors], Tensor],
    outer: Callable[[Tensors], Tensor],
    parameters: Mapping[str, Tensor],
    meta_parameters: Mapping[str, Tensor],
    *,
    steps: int,
    **sgd: Any,
) -> tuple[Tensor, Tensors]:
    """Compute `mcl.meta.meta_gradient` for objectives that depend on at least one of the parameters.

    ``sgd`` holds the ``lr``, ``momentum`` and ``weight_decay`` of `sgd_step`.
    """
    phi, state = _leaves(meta_parameters), _at_rest(parameters)
    for _ in range(steps):
        state = sgd_step(inner(state.theta, phi), state, **sgd)
    state = sgd_step(outer(state.theta), state, **sgd)
    outer_loss = outer(state.theta)
    gradients = torch.autograd.grad(outer_loss, list(phi.values()), materialize_grads=True)
    return outer_loss.detach(), dict(zip(phi, gradients, strict=True))


def meta_gradient_by_copies(
    inner: Callable[[Tensors, Tensors], Tensor],
    outer: Callable[[Tensors], Tensor],
    parameters: Mapping[str, Tensor],
    meta_parameters: Mapping[str, Tensor],
    *,
    steps: int,
    **sgd: Any,
) -> tuple[Tensor, Tensors]:
    """Compute `meta_gradient`, for deterministic objectives, from copies of the states between the steps."""
    phi = _leaves(meta_parameters)

    def take_step(step: int, state: State, create_graph: bool) -> State:
        loss = inner(state.theta, phi) if step < steps else outer(state.theta)
        return sgd_step(loss, state, **sgd, create_graph=create_graph)

    states = [_at_rest(parameters)]
    for step in range(steps + 1):
        after = take_step(step, states[-1], create_graph=False)
        states.append(State(_leaves(after.theta), _leaves(after.velocity)))
    last = states.pop()
    outer_loss = outer(last.theta)
    vectors = torch.autograd.grad(outer_loss, last.tensors, materialize_grads=True)
    total = {name: torch.zeros_like(value) for name, value in phi.items()}
    for step, state in reversed(list(enumerate(states))):
        after = take_step(step, state, create_graph=True)
        inputs = [*state.tensors, *phi.values()]
        gradients = torch.autograd.grad(after.tensors, inputs, vectors, materialize_grads=True)
        vectors = gradients[: len(state.tensors)]
        for name, gradient in zip(phi, gradients[len(state.tensors) :], strict=True):
            total[name] += gradient
    return outer_loss.detach(), total


def _at_rest(parameters: Mapping[str, Tensor]) -> State:
    theta = _leaves(parameters)
    return State(theta, {name: torch.zeros_like(value, requires_grad=True) for name, value in theta.items()})


def _leaves(tensors: Mapping[str, Tensor]) -> Tensors:
    """Copy tensors, to differentiate with respect to the copies."""
    return {name: value.detach().clone().requires_grad_() for name, value in tensors.items()}
