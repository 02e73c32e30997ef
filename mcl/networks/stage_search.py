"""Choose the stages of a network: where the resolution falls, equal thirds of its blocks, or modules named by hand."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import fx

from mcl.errors import UserError, did_you_mean
from mcl.networks.feature_layout import Layout, layout_of
from mcl.networks.model_graph import Graph, path_of

MOST_STAGES = 4  # as the networks for ImageNet have; what comes before belongs to the stem
THIRDS = 3


class Stages(NamedTuple):
    """Where a graph is cut.

    Args:
        stem: the last node of the stem; None for no stem.
        ends: the last node of each stage.
        names: the module that each stage ends with.
        layouts: the layout of the output of each stage.
    """

    stem: fx.Node | None
    ends: list[fx.Node]
    names: list[str]
    layouts: list[Layout]


def choose_stages(graph: Graph, named: Sequence[str] | None = None, prefix: int | None = None) -> Stages:
    """Choose the stages of a network.

    Args:
        graph: its forward pass.
        named: the modules whose outputs end the stages; None to find them.
        prefix: tokens before those of the grid, such as a class token, if known.

    Raises:
        UserError: a named module does not exist, or cannot end a stage.
    """
    if named is not None:
        stem, ends = _named(graph, named)
    else:
        runs = _runs(graph)
        stem, ends = _reductions(graph, runs) if len(runs) > 1 else _thirds(graph)
    names = [_name(graph, end, ends) for end in ends] if named is None else list(named)
    return Stages(stem, ends, names, [_layout(graph, end, prefix) for end in ends])


def _layout(graph: Graph, node: fx.Node, prefix: int | None) -> Layout:
    """Return the layout of a node; where as many channels as rows do not tell, that of the nearest maps."""
    position = graph.nodes.index(node)
    telling = [cut for cut in graph.cuts if len(graph.shapes[cut]) == 4 and len({*graph.shapes[cut][1:]}) == 2]
    nearest = min(telling, key=lambda cut: abs(graph.nodes.index(cut) - position), default=node)
    layout = layout_of(graph.shapes[node], prefix)
    if layout.kind == "channels first" and layout.channels == layout.side:
        return layout._replace(kind=layout_of(graph.shapes[nearest]).kind)
    return layout


def _before_classifier(graph: Graph) -> list[fx.Node]:
    """Return the cuts that hold features with positions, before the classifier."""
    until = graph.nodes.index(graph.classifier)
    return [cut for cut in graph.cuts if graph.nodes.index(cut) < until and _side(graph, cut) > 1]


def _side(graph: Graph, node: fx.Node) -> int:
    return layout_of(graph.shapes[node]).side


def _runs(graph: Graph) -> list[list[fx.Node]]:
    """Return the cuts by resolution: runs with parameters, each of a lower resolution than the one before.

    A pooling begins a run; what comes before the first module with parameters belongs to none.
    """
    runs: list[list[fx.Node]] = []
    begin = 0
    for cut in _before_classifier(graph):
        end = graph.nodes.index(cut) + 1
        if runs and _side(graph, cut) >= _side(graph, runs[-1][-1]):
            runs[-1].append(cut)
        elif runs or _count(graph, graph.nodes[begin:end]):
            runs.append([cut])
        begin = end
    return [run for run in runs if _count(graph, run)]


def _count(graph: Graph, nodes: Sequence[fx.Node]) -> int:
    """Return the number of parameters of the modules of some nodes."""
    return sum(graph.parameters.get(node, 0) for node in nodes)


def _reductions(graph: Graph, runs: list[list[fx.Node]]) -> tuple[fx.Node | None, list[fx.Node]]:
    """Return the end of the stem and of each stage, which lie before the resolution falls."""
    ends = [_end(graph, run, following) for run, following in zip(runs, [*runs[1:], None], strict=True)]
    if len(ends) > MOST_STAGES:
        return ends[-MOST_STAGES - 1], ends[-MOST_STAGES:]
    first = next(node for node in runs[0] if node in graph.parameters)
    parent = path_of(first).rpartition(".")[0]
    beside = [node for node in runs[0] if parent and _is_inside(node, parent)]
    whole = beside and graph.nodes.index(beside[-1]) < graph.nodes.index(ends[0])
    return beside[-1] if whole else first if first is not ends[0] else None, ends


def _end(graph: Graph, run: list[fx.Node], following: list[fx.Node] | None) -> fx.Node:
    """Return the last cut of a run, before the modules that belong to a step down to the next resolution."""
    first = next((node for node in following or () if node.op == "call_module"), None)
    parent = "" if first is None else path_of(first).rpartition(".")[0]
    calls = [node for node in graph.nodes if parent and _is_inside(node, parent)]
    inside = [node for node in calls if node in run]
    if inside and all(node in run or node in (following or ()) for node in calls):
        before = run[: run.index(inside[0])]
        if _count(graph, before) > _count(graph, inside):  # a norm in front of a convolution with stride, for example
            return before[-1]
    return run[-1]


def _thirds(graph: Graph) -> tuple[fx.Node | None, list[fx.Node]]:
    """Return the ends of equal thirds of the blocks of the longest container; one stage if there is none."""
    cuts = _before_classifier(graph)
    blocks: dict[str, dict[str, list[fx.Node]]] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            parts = path_of(node).split(".")
            for i, part in enumerate(parts[1:], 1):
                if part[-1].isdecimal():  # numbered, such as blocks.0 and encoder_layer_0
                    blocks.setdefault(".".join(parts[:i]), {}).setdefault(part, []).append(node)
    ends = {path: [block[-1] for block in each.values() if block[-1] in cuts] for path, each in blocks.items()}
    path = max(ends, key=lambda each: len(ends[each]), default=None)
    if path is None or len(ends[path]) < 2:
        until = graph.nodes.index(graph.classifier)
        cuts = cuts or [cut for cut in graph.cuts if graph.nodes.index(cut) < until]
        if not cuts:
            raise UserError("at no place before its last layer does one value hold all that it knows of the images")
        return None, cuts[-1:]
    count, stages = len(ends[path]), min(THIRDS, len(ends[path]))
    first = graph.nodes.index(next(iter(blocks[path].values()))[0])
    return _last_cut_before(graph, first), [ends[path][round(count * k / stages) - 1] for k in range(1, stages + 1)]


def _named(graph: Graph, named: Sequence[str]) -> tuple[fx.Node | None, list[fx.Node]]:
    ends: list[fx.Node] = []
    first = 0
    for i, path in enumerate(named):
        nodes = [k for k, node in enumerate(graph.nodes) if _is_inside(node, path)]
        if not nodes:
            paths = _paths(graph)
            raise UserError(
                f"stages: it runs no module {path}.{did_you_mean(path, paths)} It has {', '.join(_shortest(paths))}"
            )
        if i == 0:
            first = nodes[0]
        cut = next((cut for cut in graph.cuts if graph.nodes.index(cut) >= nodes[-1]), None)
        if cut is None or (ends and graph.nodes.index(cut) <= graph.nodes.index(ends[-1])):
            known = ", ".join(_name(graph, each, graph.cuts) for each in _before_classifier(graph))
            raise UserError(f"stages: none can end with {path} at this place of the list. In order, there are {known}")
        ends.append(cut)
    if not ends:
        raise UserError("stages=[]: name at least one module, or use stages=null to find them")
    return _last_cut_before(graph, first), ends


def _last_cut_before(graph: Graph, index: int) -> fx.Node | None:
    return next((cut for cut in reversed(graph.cuts) if graph.nodes.index(cut) < index), None)


def _is_inside(node: fx.Node, path: str) -> bool:
    """Return whether a node calls the module of a path, or one in it."""
    return node.op == "call_module" and f"{path_of(node)}.".startswith(f"{path}.")


def _paths(graph: Graph) -> list[str]:
    """Return the paths of all modules that run, and of those that they lie in."""
    paths = dict.fromkeys(path_of(node) for node in graph.nodes if node.op == "call_module")
    return list(dict.fromkeys(".".join(path.split(".")[:i]) for path in paths for i in range(1, path.count(".") + 2)))


def _shortest(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if path.count(".") <= 1][:30]


def _name(graph: Graph, end: fx.Node, ends: Sequence[fx.Node]) -> str:
    """Return the largest module that ends where a stage does, and in which no other stage ends."""
    calls = [node for node in graph.nodes[: graph.nodes.index(end) + 1] if node.op == "call_module"]
    if not calls:
        return "the images"
    parts = path_of(calls[-1]).split(".")
    for i in range(1, len(parts)):
        path = ".".join(parts[:i])
        last = [node for node in graph.nodes if _is_inside(node, path)][-1]
        if last is calls[-1] and not any(other is not end and _is_inside(other, path) for other in ends):
            return path
    return path_of(calls[-1])
