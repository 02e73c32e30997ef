"""A recipe of a network: its layers in order of computation, with the names of their tensors, as plain JSON.

With it, the weights can be used without this project and without code: every layer is one of PyTorch's, written as
PyTorch prints it, and every step names the steps that it reads.
"""

import json
from typing import Any

from torch import fx

from mcl.deploy.metadata import NetworkMetadata
from mcl.errors import UserError
from mcl.networks.backbone import Backbone

IMAGES = "images"


def encode_recipe(backbone: Backbone, metadata: NetworkMetadata) -> bytes:
    """Return the recipe of a network as JSON.

    - ``steps``: ``{"name", "layer", "tensors", "inputs"}`` for a layer, ``tensors`` being the names of its tensors in
      the file of weights; ``{"name", "operation", "arguments", "options"}`` for a function or a method of a tensor, in
      whose arguments ``{"step": NAME}`` stands for an earlier result, ``images`` for the input; ``{"name", "tensor"}``
      for a tensor of the file.
    - ``logits``: the name of the step that computes the logits (B, C).
    - ``tensors``: name -> shape of every tensor in the file.

    Raises:
        UserError: the order of computation depends on the images, so there is no fixed recipe.
    """
    try:
        graph = fx.symbolic_trace(backbone.eval()).graph
    except Exception as error:  # tracing raises errors of many types
        raise UserError(
            f"--names native: {backbone.name} has no fixed order of layers to write down"
            f" ({' '.join(str(error).split())[:160]}). Leave out --names."
        ) from error
    content = {
        **{key: value for key, value in metadata.as_dict().items() if key != "architecture"},
        "steps": [_step(node, backbone) for node in graph.nodes if node.op not in ("placeholder", "output")],
        "logits": _reference(next(node for node in graph.nodes if node.op == "output").args[0])["step"],
        "tensors": {name: list(tensor.shape) for name, tensor in backbone.state_dict().items()},
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _step(node: fx.Node, backbone: Backbone) -> dict[str, Any]:
    if node.op == "call_module":
        path = str(node.target)
        layer = backbone.get_submodule(path)
        return {
            "name": node.name,
            "layer": f"{type(layer).__name__}({layer.extra_repr()})",
            "tensors": {name: f"{path}.{name}" for name in layer.state_dict()},
            "inputs": [_reference(each) for each in node.args],
        }
    if node.op == "get_attr":
        return {"name": node.name, "tensor": str(node.target)}
    return {
        "name": node.name,
        "operation": f"Tensor.{node.target}" if node.op == "call_method" else _qualified_name(node.target),
        "arguments": [_reference(each) for each in node.args],
        "options": {key: _reference(value) for key, value in node.kwargs.items()},
    }


def _qualified_name(function: Any) -> str:
    """Return where PyTorch or Python has a function: ``torch.flatten``, ``operator.add``."""
    module = {"_operator": "operator", None: "torch"}.get(function.__module__, function.__module__)
    return f"{module}.{function.__name__}"


def _reference(value: Any) -> Any:
    """Return an argument as plain JSON."""
    if isinstance(value, fx.Node):
        return {"step": IMAGES if value.op == "placeholder" else value.name}
    if isinstance(value, list | tuple):
        return [_reference(each) for each in value]
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(f"--names native: an argument of type {type(value).__name__} cannot be written as JSON.")
