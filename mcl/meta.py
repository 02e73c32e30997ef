"""Compute the exact gradient of an objective through unrolled SGD steps, without a graph over all steps.

The steps ``v' = momentum * v + g + weight_decay * theta`` and ``theta' = theta - lr * v'``, from ``v = 0``, are taken
on detached parameters. The reverse pass carries two vectors back: ``a``, the gradient at theta', and ``m``, the
gradient at v' without the path through theta'. With ``u = m - lr * a``, the total gradient at v',

    gradient at theta       a + weight_decay * u + (dg / dtheta)^T u
    gradient at v           momentum * u
    the meta-parameters get (dg / dphi)^T u

so each step needs one vector-Jacobian product of its own gradient g. Up to rounding, the result equals that of
differentiating the unrolled loop (`mcl.reference.unrolled_gradient`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from mcl.allocator import return_freed_memory
from mcl.errors import check_choice

Tensors = dict[str, Tensor]
Reduce = Callable[[Sequence[Tensor]], list[Tensor]]


@torch.enable_grad()
def meta_gradient(
    inner: Callable[[Tensors, Tensors], Tensor],
    outer: Callable[[Tensors], Tensor],
    parameters: Mapping[str, Tensor],
    meta_parameters: Mapping[str, Tensor],
    *,
    steps: int,
    lr: float,
    momentum: float,
    weight_decay: float | Mapping[str, float],
    memory: Literal["keep", "recompute"] = "keep",
    reduce: Reduce = list,
) -> tuple[Tensor, Tensors]:
    """Return the outer objective after ``steps`` inner SGD steps and one outer step, and its meta-gradient.

    Parameters that an objective does not depend on have gradient zero, but still decay and carry momentum. With
    ``steps=0`` all meta-gradients are zero. The arguments are not modified, nor is the global random state (of the CPU
    and of the devices of these tensors).

    Args:
        inner: ``inner(parameters, meta_parameters)``, a scalar, twice differentiable.
        outer: ``outer(parameters)``, a scalar, twice differentiable.
        parameters: tensors that the steps update, floating point, of any shapes.
        meta_parameters: further inputs of the inner objective, floating point, of any shapes.
        steps: SGD steps on the inner objective, 0 or more.
        lr: learning rate of all unrolled steps.
        momentum: momentum of all unrolled steps (no Nesterov, no dampening), from a zero buffer.
        weight_decay: weight decay in all unrolled steps, of all parameters or of each by its name.
        memory: ``keep`` the graphs of all steps for the reverse pass, or ``recompute`` them there one by one, with the
            same random numbers: one graph in memory at a time, at the cost of about one more first-order gradient per
            step and, on the CPU, of returning free memory to the system.
        reduce: averages gradients over processes (`mcl.distributed.all_reduce_mean`), if the objectives are means over
            processes. Every product above is linear in the contribution of each process, so this is exact.

    Returns:
        The outer objective at the parameters reached, a scalar, and its gradient, a dict like ``meta_parameters``.
        Nothing returned requires grad.

    Raises:
        UserError: ``memory`` is neither ``keep`` nor ``recompute``.

    Example:
        >>> inner = lambda parameters, meta: (meta["scale"] * parameters["x"] ** 2).sum()
        >>> outer = lambda parameters: parameters["x"].sum()
        >>> start, meta = {"x": torch.tensor([1.0, 2.0])}, {"scale": torch.tensor(0.5)}
        >>> meta_gradient(inner, outer, start, meta, steps=1, lr=0.1, momentum=0.0, weight_decay=0.0)
        (tensor(2.5000), {'scale': tensor(-0.6000)})
    """
    check_choice("meta.memory", memory, ("keep", "recompute"))
    assert steps >= 0, steps

    phi = _leaves(meta_parameters, meta_parameters.values())
    theta = [value.detach() for value in parameters.values()]
    decays = [weight_decay[name] if isinstance(weight_decay, Mapping) else weight_decay for name in parameters]
    velocity = [torch.zeros_like(value) for value in theta]
    tape: list[tuple[Tensors, Callable[[], list[Tensor]]]] = []
    restore_random_state = _random_state([*theta, *phi.values()])
    try:
        for objective in [inner] * steps + [lambda parameters, _: outer(parameters)]:
            leaves = _leaves(parameters, theta)
            gradient, differentiable = _record(objective, leaves, phi, keep=memory == "keep")
            gradient = reduce(gradient)
            tape.append((leaves, differentiable))
            # The operations of torch.optim.SGD in the same order: the iterates are equal to the last bit.
            torch._foreach_mul_(velocity, momentum)
            torch._foreach_add_(velocity, _add_decay(gradient, theta, decays))
            theta = list(torch._foreach_add(theta, velocity, alpha=-lr))
        leaves = _leaves(parameters, theta)
        outer_loss = outer(leaves)
        a = reduce(_vjp([outer_loss], list(leaves.values())))
        m = [torch.zeros_like(value) for value in a]
        total = [torch.zeros_like(value) for value in phi.values()]
        while tape:
            leaves, differentiable = tape.pop()
            u = torch._foreach_add(m, a, alpha=-lr)
            # The first step has no predecessor, so it needs only the mixed derivative.
            inputs = list(leaves.values()) if tape else []
            products = reduce(_vjp(differentiable(), [*inputs, *phi.values()], u))
            torch._foreach_add_(total, products[len(inputs) :])
            if tape:
                a = list(torch._foreach_add(_add_decay(a, u, decays), products[: len(inputs)]))
                m = list(torch._foreach_mul(u, momentum))
    finally:
        restore_random_state()
    (outer_loss,) = reduce([outer_loss.detach()])
    return outer_loss, dict(zip(phi, total, strict=True))


def _add_decay(vectors: Sequence[Tensor], values: Sequence[Tensor], decays: Sequence[float]) -> list[Tensor]:
    """Return ``vector + decay * value`` for each vector; one call to torch for all with the same decay."""
    result = list(vectors)
    for decay in {*decays} - {0.0}:
        chosen = [index for index, each in enumerate(decays) if each == decay]
        sums = torch._foreach_add([vectors[i] for i in chosen], [values[i] for i in chosen], alpha=decay)
        for index, value in zip(chosen, sums, strict=True):
            result[index] = value
    return result


def _leaves(names: Iterable[str], values: Iterable[Tensor]) -> Tensors:
    return {name: value.detach().requires_grad_() for name, value in zip(names, values, strict=True)}


def _record(
    objective: Callable[[Tensors, Tensors], Tensor], leaves: Tensors, phi: Tensors, *, keep: bool
) -> tuple[list[Tensor], Callable[[], list[Tensor]]]:
    """Return the gradient of an objective, and a function that returns it with its graph."""

    def gradient(create_graph: bool) -> list[Tensor]:
        return _vjp([objective(leaves, phi)], list(leaves.values()), create_graph=create_graph)

    if keep:
        kept = gradient(create_graph=True)
        return [value.detach() for value in kept], lambda: kept

    rewind = _random_state([*leaves.values(), *phi.values()])

    def recompute() -> list[Tensor]:
        device = next(iter(leaves.values())).device
        return_freed_memory(device)
        rewind()
        result = gradient(create_graph=True)
        return_freed_memory(device)  # few other tensors fit into the holes beside a graph
        return result

    return gradient(create_graph=False), recompute


def _vjp(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    vectors: Sequence[Tensor] | None = None,
    *,
    create_graph: bool = False,
) -> list[Tensor]:
    """Return `torch.autograd.grad`, with zeros for inputs that no output depends on."""
    reached = [index for index, output in enumerate(outputs) if output.requires_grad]
    products: Sequence[Tensor | None] = [None] * len(inputs)
    if reached and inputs:
        products = torch.autograd.grad(
            [outputs[index] for index in reached],
            inputs,
            None if vectors is None else [vectors[index] for index in reached],
            create_graph=create_graph,
            allow_unused=True,
        )
    return [
        torch.zeros_like(value) if product is None else product for value, product in zip(inputs, products, strict=True)
    ]


def _random_state(tensors: Iterable[Tensor]) -> Callable[[], None]:
    """Capture the global random state of the CPU and of the tensors' devices. Return a function that restores it."""
    cpu = torch.get_rng_state()
    modules = {
        device: torch.get_device_module(device) for device in {t.device for t in tensors} if device.type != "cpu"
    }
    states = {device: module.get_rng_state(device) for device, module in modules.items()}

    def restore() -> None:
        torch.set_rng_state(cpu)
        for device, module in modules.items():
            module.set_rng_state(states[device], device)

    return restore
