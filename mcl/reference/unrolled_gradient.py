"""The gradient through unrolled SGD steps as one would write it on a blackboard, in two ways.

Autograd over the whole loop is the definition, and holds the graphs of all steps in memory. With copies of the states
between the steps, each step is taken once without a graph, and once more with one on the way back.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class State(NamedTuple):
    """What SGD with momentum moves: parameters and their velocities, by the same names."""

    theta: Tensors
    velocity: Tensors

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters, then the velocities."""
        return [*self.theta.values(), *self.velocity.values()]

    def copy(self) -> "State":
        """The same values in tensors of their own, to differentiate by."""
        return State(_leaves(self.theta), _leaves(self.velocity))


def sgd_step(
    loss: Tensor, state: State, *, lr: float, momentum: float, weight_decay: float, create_graph: bool
) -> State:
    """The state after one step on a loss of ``state.theta``; differentiable with ``create_graph``."""
    theta, velocity = {}, {}
    parameters = list(state.theta.values())
    gradients = torch.autograd.grad(loss, parameters, create_graph=create_graph, materialize_grads=True)
    for (name, value), gradient in zip(state.theta.items(), gradients, strict=True):
        velocity[name] = momentum * state.velocity[name] + gradient + weight_decay * value
        theta[name] = value - lr * velocity[name]
    return State(theta, velocity)


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
    step = partial(sgd_step, lr=lr, momentum=momentum, weight_decay=weight_decay, create_graph=True)
    phi, state = _leaves(meta_parameters), _at_rest(parameters)
    for _ in range(steps):
        state = step(inner(state.theta, phi), state)
    state = step(outer(state.theta), state)
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
    lr: float,
    momentum: float,
    weight_decay: float,
) -> tuple[Tensor, Tensors]:
    """As `meta_gradient`, of objectives that draw nothing at random, from copies of the states between the steps."""
    phi = _leaves(meta_parameters)

    def after(step: int, state: State, create_graph: bool) -> State:
        loss = inner(state.theta, phi) if step < steps else outer(state.theta)
        return sgd_step(loss, state, lr=lr, momentum=momentum, weight_decay=weight_decay, create_graph=create_graph)

    states = [_at_rest(parameters)]
    for step in range(steps + 1):
        states.append(after(step, states[-1], create_graph=False).copy())
    last = states.pop()
    outer_loss = outer(last.theta)
    vectors = torch.autograd.grad(outer_loss, last.tensors, materialize_grads=True)
    total = {name: torch.zeros_like(value) for name, value in phi.items()}
    for step, state in reversed(list(enumerate(states))):
        inputs = [*state.tensors, *phi.values()]
        found = torch.autograd.grad(
            after(step, state, create_graph=True).tensors, inputs, vectors, materialize_grads=True
        )
        vectors = found[: len(state.tensors)]
        for name, gradient in zip(phi, found[len(state.tensors) :], strict=True):
            total[name] += gradient
    return outer_loss.detach(), total


def _at_rest(parameters: Mapping[str, Tensor]) -> State:
    theta = _leaves(parameters)
    return State(theta, {name: torch.zeros_like(value, requires_grad=True) for name, value in theta.items()})


def _leaves(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: value.detach().clone().requires_grad_() for name, value in tensors.items()}
