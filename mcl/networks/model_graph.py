"""A classifier of any library as a graph of its own modules, and the places where it can be cut.

`torch.fx` follows the forward pass of the model itself and of its containers. Everything below, such as a block, stays
one unmodified module of the library. A cut is a value through which all information about the images passes, so what
follows can be run, or copied, without what comes before.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from mcl.errors import UserError
from mcl.networks.counting import parameters

_MODEL = "model."  # prefix of the targets in a graph
_LARGE = 0.9  # share of the parameters from which on a module is followed, not taken as one


class Graph(NamedTuple):
    """The forward pass of a model.

    Args:
        nodes: in the order of their computation.
        shapes: of the nodes whose values are tensors.
        cuts: the nodes that can be cut after.
        classifier: the node of the last layer.
        parameters: how many the module of a node has; nodes without any are left out.
    """

    nodes: list[fx.Node]
    shapes: Mapping[fx.Node, torch.Size]
    cuts: list[fx.Node]
    classifier: fx.Node
    parameters: Mapping[fx.Node, int]

    @property
    def output(self) -> fx.Node:
        """The node of the logits."""
        (logits,) = self.nodes[-1].all_input_nodes
        return logits


def read_graph(
    model: nn.Module,
    images: Tensor,
    num_classes: int,
    *,
    follow: Sequence[str] = (),
    opaque: Sequence[Callable[..., Any]] = (),
) -> Graph:
    """Follow the forward pass of a classifier in evaluation mode.

    Args:
        model: maps images to logits (B, num_classes).
        images: (1, channels, height, width), on the model's device.
        num_classes: C.
        follow: paths of modules that must be nodes of their own.
        opaque: functions that are nodes as well, because what they do depends on sizes.

    Raises:
        UserError: its forward pass is not a fixed sequence of modules, or does not end in a layer of C outputs.
    """
    classifier = _classifier_path(model, num_classes)
    inner = {parent for path in (classifier, *follow) for parent in _parents(path)}
    graph = _trace(model, inner, opaque)
    shapes = _shapes(model, graph, images)
    nodes = list(graph.nodes)
    ends = [node for node in nodes if node.op == "call_module" and path_of(node) == classifier]
    if not ends or nodes[-1].args[0] not in shapes:
        raise UserError(f"its layer {classifier} is not called by its forward pass, or it does not return one tensor")
    modules = dict(model.named_modules())
    counts = {node: parameters(modules[path_of(node)]) for node in nodes if node.op == "call_module"}
    counts = {node: count for node, count in counts.items() if count}
    return Graph(nodes, shapes, _cuts(nodes, shapes), ends[-1], counts)


def path_of(node: fx.Node) -> str:
    """Return the path in the model of the module that a node calls."""
    return str(node.target).removeprefix(_MODEL)


def between(graph: Graph, start: fx.Node | None, ends: Sequence[fx.Node]) -> fx.Graph:
    """Return the part of a graph that computes some nodes from one before them.

    Args:
        graph: the whole.
        start: the node that becomes the input; None for the images.
        ends: the nodes that are returned, as a tuple if there are several.
    """
    start = start or graph.nodes[0]
    needed: set[fx.Node] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node is not start and node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    part = fx.Graph()
    copies = {start: part.placeholder("x")}
    for node in graph.nodes:
        if node in needed:
            copies[node] = part.node_copy(node, copies.__getitem__)
            if node.op in ("call_module", "get_attr"):
                copies[node].target = path_of(node)
    outputs = tuple(copies[end] for end in ends)
    part.output(outputs if len(outputs) > 1 else outputs[0])
    return part


def build_part(model: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """Return a part of a graph as a module of the model's own modules, under their own names.

    Dropout by a function, whose mode would be fixed, becomes a module.
    """
    part = fx.Graph()
    members: dict[str, Any] = {}
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node.target is F.dropout:
            rate, name = _dropout_rate(node), f"dropout_{len(members)}"
            members[name] = nn.Dropout(rate)
            copies[node] = part.call_module(name, (copies[node.all_input_nodes[0]],))
            continue
        copies[node] = part.node_copy(node, copies.__getitem__)
        if node.op in ("call_module", "get_attr"):
            members[str(node.target)] = _member(model, str(node.target))
    built = fx.GraphModule(members, part)
    for path in members:
        parent, _, name = path.rpartition(".")
        if isinstance(members[path], Tensor) and name in model.get_submodule(parent)._non_persistent_buffers_set:
            built.get_submodule(parent)._non_persistent_buffers_set.add(name)
    return built


class _Whole(nn.Module):
    """Call a model with one argument; its further arguments keep their defaults."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        return self.model(images)


class _Tracer(fx.Tracer):
    def __init__(self, followed: Collection[nn.Module], opaque: Sequence[Callable[..., Any]]):
        super().__init__(autowrap_functions=tuple(opaque))
        self.followed = followed

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one node."""
        return m not in self.followed


def _trace(model: nn.Module, inner: Collection[str], opaque: Sequence[Callable[..., Any]]) -> fx.Graph:
    """Trace a model that computes the same in training as in evaluation, but for dropout."""
    followed = {model, *(model.get_submodule(path) for path in inner)}
    followed |= {module for module in model.modules() if type(module).forward is nn.Sequential.forward}
    large = {module for module in model.modules() if parameters(module) > _LARGE * parameters(model)}
    try:
        try:
            return _trace_both(model, followed | large, opaque)
        except (fx.proxy.TraceError, TypeError):  # a large module may not be traceable where the rest is
            return _trace_both(model, followed, opaque)
    except UserError:
        raise
    except Exception as error:  # models fail in many ways with values that are not tensors
        raise _not_a_sequence(error) from error


def _trace_both(model: nn.Module, followed: Collection[nn.Module], opaque: Sequence[Callable[..., Any]]) -> fx.Graph:
    whole = _Whole(model)
    graphs = []
    for training in (True, False):
        whole.train(training)
        graphs.append(_Tracer(followed, opaque).trace(whole))
    training_text, text = (_without_mode(graph) for graph in graphs)
    if training_text != text:
        raise UserError("its forward pass differs in training, such as by auxiliary outputs")
    return graphs[1]


def _without_mode(graph: fx.Graph) -> list[tuple[Any, ...]]:
    """Return what a graph computes; the mode of dropout is left out."""
    return [
        (node.name, node.op, str(node.target), str(node.all_input_nodes), _dropout_rate(node))
        if node.target is F.dropout
        else (node.name, node.op, str(node.target), str(node.args), str(node.kwargs))
        for node in graph.nodes
    ]


def _dropout_rate(node: fx.Node) -> float:
    return float(node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5))  # type: ignore[arg-type]


def _shapes(model: nn.Module, graph: fx.Graph, images: Tensor) -> dict[fx.Node, torch.Size]:
    shapes: dict[fx.Node, torch.Size] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                shapes[n] = value.shape
            return value

    try:
        with torch.no_grad():
            Recorder(fx.GraphModule(_Whole(model), graph)).run(images)
    except Exception as error:  # it ran before it was traced, so tracing changed what it does
        raise _not_a_sequence(error) from error
    return shapes


def _not_a_sequence(error: Exception) -> UserError:
    reason = " ".join(str(error).split()).partition(". ")[0][:100]
    return UserError(
        "what its forward pass does depends on the images, or its modules hand lists to one another, so choose another"
        f" network ({reason})"
    )


def _cuts(nodes: Sequence[fx.Node], shapes: Mapping[fx.Node, torch.Size]) -> list[fx.Node]:
    """Return the nodes after which no other value that depends on the images is needed."""
    position = {node: i for i, node in enumerate(nodes)}
    last_use = {node: max((position[user] for user in node.users), default=-1) for node in nodes}
    dependent = {nodes[0]}
    alive = {nodes[0]}
    cuts = []
    for i, node in enumerate(nodes[1:-1], 1):
        if dependent.intersection(node.all_input_nodes):
            dependent.add(node)
            alive.add(node)
        alive = {each for each in alive if last_use[each] > i}
        if alive == {node} and node in shapes:
            cuts.append(node)
    return cuts


def _classifier_path(model: nn.Module, num_classes: int) -> str:
    """Return the path of the last layer with one output for each class."""
    paths = [
        path
        for path, module in model.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == num_classes)
        or (isinstance(module, nn.Conv2d) and module.out_channels == num_classes)
    ]
    if not paths:
        raise UserError(f"it has no linear layer or convolution of {num_classes} outputs, one for each class")
    return paths[-1]


def _parents(path: str) -> Iterator[str]:
    parts = path.split(".")
    yield from (".".join(parts[:i]) for i in range(1, len(parts)))


def _member(model: nn.Module, path: str) -> Any:
    parent, _, name = path.rpartition(".")
    return getattr(model.get_submodule(parent), name)
