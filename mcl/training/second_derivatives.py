"""Check before training that networks are twice differentiable, as a meta round needs."""

import re
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.func import functional_call

from mcl.double_backward import DoubleBackward
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.cohort import Cohort

_NO_DERIVATIVE = re.compile(r"derivative for aten::(\w+?)(_backward)? is not implemented")


def check_twice_differentiable(cohort: Cohort, channels: int, image_size: int) -> None:
    """Differentiate each architecture twice on two random images; weights, buffers and random state do not change.

    Branches are not checked, and would take several times as long: they consist of the same layers, or of layers of
    PyTorch that can be differentiated twice.

    Args:
        cohort: the networks.
        channels: channels of the images.
        image_size: side of the training images in pixels; the check uses smaller ones if the network allows.

    Raises:
        UserError: an operation of a network has no second derivative.
    """
    checked = set()
    for key, network in cohort.items():
        backbone = network.backbone
        if backbone.name not in checked:
            _check(backbone, key, channels, dict.fromkeys([min(image_size, 2 * backbone.stride), image_size]))
        checked.add(backbone.name)


def _check(backbone: Backbone, key: str, channels: int, sides: Iterable[int]) -> None:
    for side in sides:
        images = torch.randn(2, channels, side, side, generator=torch.Generator())
        try:
            gradients = _gradients(backbone, images)
        except Exception:  # no first derivative: the images are too small for this network, or training reports it
            continue
        obstacle = _obstacle(gradients, backbone)
        if obstacle is not None:
            raise UserError(
                f"pair.{key}: {backbone.name} cannot be differentiated twice, as the meta round does: {obstacle}."
                " Use loss/matching=one, which has no meta round, or another network."
            )
        return


def _gradients(backbone: Backbone, images: Tensor) -> list[Tensor]:
    """Return the gradients of the squared logits, with their graph."""
    buffers = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    with torch.random.fork_rng(devices=[]), DoubleBackward():
        return _differentiate([functional_call(backbone, buffers, (images,))], backbone, create_graph=True)


def _obstacle(gradients: list[Tensor], backbone: Backbone) -> str | None:
    """Return what in the graph of these gradients has no derivative, or None."""
    names = _node_names(gradients)
    if "Error" in names:  # torch.autograd.grad silently returns wrong numbers here
        return "one of its functions is marked with once_differentiable"
    if "NotImplemented" in names:
        try:
            _differentiate(gradients, backbone)
        except RuntimeError as error:
            operation = _NO_DERIVATIVE.search(str(error))
            return f"{operation[1]} has no second derivative" if operation else str(error).partition("\n")[0]
    return None


def _node_names(tensors: list[Tensor]) -> set[str]:
    """Return the names of all graph nodes behind the tensors, without their namespace."""
    waiting: list[Node | None] = [tensor.grad_fn for tensor in tensors]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return {node.name().rpartition("::")[2] for node in seen}


def _differentiate(values: list[Tensor], backbone: Backbone, create_graph: bool = False) -> list[Tensor]:
    """Return the gradients of the sum of squares with respect to all trainable parameters that it depends on."""
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    terms = [value.square().sum() for value in values if value.requires_grad]
    if not parameters or not terms:
        return []
    total = torch.stack(terms).sum()
    gradients = torch.autograd.grad(total, parameters, create_graph=create_graph, allow_unused=True)
    return [gradient for gradient in gradients if gradient is not None]
