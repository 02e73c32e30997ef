"""Load checkpoints of the L-MCL authors' code into a cohort: their names for our tensors."""

from collections.abc import Callable, Mapping

from torch import Tensor

from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.cohort import Cohort
from mcl.networks.hcgnet import HCGNet
from mcl.networks.resnet import ResNet
from mcl.networks.shufflenetv2 import ShuffleNetV2
from mcl.networks.torchvision import TorchvisionBackbone
from mcl.networks.wide_resnet import WideResNet

_DATA_PARALLEL = "module."  # in front of all keys of a network saved inside DataParallel


def translate(state: Mapping[str, Tensor], cohort: Cohort) -> dict[str, Tensor]:
    """A state dict of the official code under our keys, ready for ``cohort.load_state_dict``.

    Args:
        state: the ``net`` entry of an official checkpoint: a baseline (one network without branches) or a pair.
        cohort: networks of the same architectures, order, branches and number of classes.

    Returns:
        The same tensors in a new dict; ``state`` and ``cohort`` are left alone.

    Raises:
        UserError: a tensor is missing, left over, or of another shape.
    """
    given = {key.removeprefix(_DATA_PARALLEL): tensor for key, tensor in state.items()}
    baseline = is_baseline(state)
    two_architectures = any(key.startswith("net1.") for key in given)
    official: dict[str, str] = {}  # our key -> theirs
    for i, (name, network) in enumerate(zip(cohort.keys, cohort, strict=True)):
        prefix = f"net{i + 1}.module_list.0." if two_architectures else f"module_list.{i}."
        for key in network.state_dict():
            theirs = _official_key(key, network.backbone)
            alone = baseline and i == 0  # a second network is then reported as lacking
            official[f"networks.{name}.{key}"] = theirs.removeprefix("backbone.") if alone else prefix + theirs
    wanted = {official[key]: tensor for key, tensor in cohort.state_dict().items()}
    _compare(given, wanted, " and ".join(cohort.names))
    return {ours: given[theirs] for ours, theirs in official.items()}


def is_baseline(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict of the official code holds one network without branches, not a pair."""
    return not any(key.removeprefix(_DATA_PARALLEL).startswith(("net1.", "module_list.")) for key in state)


def _compare(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: str) -> None:
    for problem, keys in (("lacks", wanted.keys() - given.keys()), ("also holds", given.keys() - wanted.keys())):
        if keys:
            few = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise UserError(
                f"this is no official checkpoint of {names}: it {problem} {few}. Choose the pair= it was trained as;"
                " loss=lmcl has auxiliary branches, a baseline (pair=single) has none."
            )
    for key, tensor in wanted.items():
        if given[key].shape != tensor.shape:
            raise UserError(
                f"this is no official checkpoint of {names}: {key} has shape {tuple(given[key].shape)}, not"
                f" {tuple(tensor.shape)}. Choose the dataset= (its classes) and the pair= it was trained with."
            )


def _official_key(key: str, backbone: Backbone) -> str:
    """What the official code calls a tensor of one network of ours, e.g. ``branches.0.head.classifier.weight``."""
    family = backbone.model if isinstance(backbone, TorchvisionBackbone) else type(backbone)
    if family not in _FAMILIES:
        raise UserError(f"network {backbone.name}: the official code has no such architecture.")
    in_backbone, in_branch = _FAMILIES[family]
    match key.split("."):
        case ["backbone", *path]:
            return ".".join(["backbone", *in_backbone(path)])
        case ["branches", k, "head", "classifier", leaf]:
            return f"auxiliary_classifier.fc{_next(k)}.{leaf}"
        case ["branches", k, *path]:
            stages_after = len(backbone.stages) - int(k) - 1
            return ".".join(["auxiliary_classifier", *in_branch(path, _next(k), stages_after)])
    raise AssertionError(key)


def _next(number: str) -> str:
    return str(int(number) + 1)  # official stages, branches and modules are counted from 1


# Paths below start inside the backbone, or inside branch k (counted from 1) with so many stages after the tap.


def _resnet(path: list[str]) -> list[str]:
    match path:
        case ["stem", i, leaf]:
            return [("conv1", "bn1")[int(i)], leaf]
        case ["stages", k, *block]:
            return [f"layer{_next(k)}", *block]
        case ["head", "classifier", leaf]:
            return ["fc", leaf]
    raise AssertionError(path)


def _resnet_branch(path: list[str], k: str, stages_after: int) -> list[str]:
    return [f"block_extractor{k}", *path[1:]]


def _wide_resnet(path: list[str]) -> list[str]:
    match path:
        case ["stem", leaf]:
            return ["conv1", leaf]
        case ["stages", k, block, layer, leaf]:
            return [f"block{_next(k)}", "layer", block, _WIDE_LAYERS.get(layer, layer), leaf]
        case ["head", "neck", "0", leaf]:
            return ["bn1", leaf]
        case ["head", "classifier", leaf]:
            return ["fc", leaf]
    raise AssertionError(path)


def _wide_resnet_branch(path: list[str], k: str, stages_after: int) -> list[str]:
    match path:
        case ["stages", s, block, layer, leaf]:
            return [f"block_extractor{k}", s, "layer", block, _WIDE_LAYERS.get(layer, layer), leaf]
        case ["head", "neck", "0", leaf]:
            return [f"bn{k}", leaf]
    raise AssertionError(path)


_WIDE_LAYERS = {"shortcut": "convShortcut"}


def _shufflenet(path: list[str]) -> list[str]:
    match path:
        case ["stem", i, leaf]:
            return [("conv1", "bn1")[int(i)], leaf]
        case ["stages", k, block, side, layer, leaf]:
            return [f"layer{_next(k)}", block, _inverted_residual(block, side, layer), leaf]
        case ["head", "neck", i, leaf]:
            return [("conv2", "bn2")[int(i)], leaf]
        case ["head", "classifier", leaf]:
            return ["linear", leaf]
    raise AssertionError(path)


def _shufflenet_imagenet(path: list[str]) -> list[str]:
    match path:
        case ["stages", k, *block]:  # the first of ours is the max-pool
            return _shufflenet(["stages", str(int(k) - 1), *block])
    return _shufflenet(path)


def _shufflenet_branch(path: list[str], k: str, stages_after: int) -> list[str]:
    match path:
        case ["stages", s, block, side, layer, leaf]:
            return [f"block_extractor{k}", s, block, _inverted_residual(block, side, layer), leaf]
        case ["head", "neck", i, leaf]:
            return [f"block_extractor{k}", str(stages_after + int(i)), leaf]
    raise AssertionError(path)


def _inverted_residual(block: str, side: str, layer: str) -> str:
    """Official blocks number their convolutions through both sides; only a stage's first block has a left one."""
    order = _INVERTED_RESIDUAL[side].index(int(layer))  # conv, bn, conv, bn, ...
    first = 3 if block == "0" and side == "branch2" else 1
    return f"{('conv', 'bn')[order % 2]}{first + order // 2}"


_INVERTED_RESIDUAL = {"branch1": (0, 1, 2, 3), "branch2": (0, 1, 3, 4, 5, 6)}  # positions that hold tensors


def _hcgnet(path: list[str]) -> list[str]:
    match path:
        case ["stem", leaf]:
            return ["features", "conv0", leaf]
        case ["stages", k, "smg", n, *layers, leaf]:
            return [f"HybridBlock{_next(k)}", f"SMG{_next(n)}", _GATED_LAYERS[".".join(layers)], leaf]
        case ["stages", k, "transition", *layers, leaf]:
            return [f"Transition{_next(k)}", _GATED_LAYERS[".".join(layers)], leaf]
        case ["head", "neck", "0", leaf]:
            return ["norm5", leaf]
        case ["head", "classifier", leaf]:
            return ["classifier", leaf]
    raise AssertionError(path)


def _hcgnet_branch(path: list[str], k: str, stages_after: int) -> list[str]:
    # Every stage but the last takes two places there: its modules and its transition.
    match path:
        case ["stages", s, "smg", n, *layers, leaf]:
            return [f"block_extractor{k}", str(2 * int(s)), f"SMG{_next(n)}", _GATED_LAYERS[".".join(layers)], leaf]
        case ["stages", s, "transition", *layers, leaf]:
            return [f"block_extractor{k}", str(2 * int(s) + 1), _GATED_LAYERS[".".join(layers)], leaf]
        case ["head", "neck", "0", leaf]:
            return [f"block_extractor{k}", str(2 * stages_after - 1), leaf]
    raise AssertionError(path)


_GATED_LAYERS = {
    "reduce.0.0": "conv1_1x1.norm",
    "reduce.0.2": "conv1_1x1.conv",
    "reduce.1.0": "conv2_3x3.norm",
    "reduce.1.2": "conv2_3x3.conv",
    "gating.near.0": "conv_3x3.norm",
    "gating.near.2": "conv_3x3.conv",
    "gating.far.0": "conv_5x5.norm",  # dilated, in truth
    "gating.far.2": "conv_5x5.conv",
    "gating.near_pool.score": "global_context3x3",
    "gating.far_pool.score": "global_context5x5",
    "gating.squeeze.0": "fcall",
    "gating.squeeze.1": "bn_attention",
    "gating.near_score": "fc3x3",
    "gating.far_score": "fc5x5",
    "gating.keep.0.score": "global_forget_context",
    "gating.keep.1": "fc1",
    "gating.keep.2": "bn_forget",
    "gating.keep.4": "fc2",
}

_Translation = tuple[Callable[[list[str]], list[str]], Callable[[list[str], str, int], list[str]]]

_FAMILIES: dict[type[Backbone] | str, _Translation] = {  # by class, or by torchvision's name
    ResNet: (_resnet, _resnet_branch),
    WideResNet: (_wide_resnet, _wide_resnet_branch),
    ShuffleNetV2: (_shufflenet, _shufflenet_branch),
    HCGNet: (_hcgnet, _hcgnet_branch),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50"), (_resnet, _resnet_branch)),
    **dict.fromkeys(("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"), (_shufflenet_imagenet, _shufflenet_branch)),
}
