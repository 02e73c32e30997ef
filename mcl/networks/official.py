"""Load checkpoints of the L-MCL authors' code into a cohort: a translation of state-dict keys."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from mcl.console import summarize
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.branch_names import COPY
from mcl.networks.cohort import Cohort
from mcl.networks.hcgnet import HCGNet
from mcl.networks.resnet import ResNet
from mcl.networks.shufflenetv2 import ShuffleNetV2
from mcl.networks.torchvision import TorchvisionBackbone
from mcl.networks.wide_resnet import WideResNet

_DATA_PARALLEL = "module."  # prefix of all keys of a network saved inside DataParallel


def translate(state: Mapping[str, Tensor], cohort: Cohort) -> dict[str, Tensor]:
    """Return a state dict of the official code under our keys, ready for ``cohort.load_state_dict``.

    Args:
        state: the ``net`` entry of an official checkpoint: a baseline (one network without branches) or a pair.
        cohort: networks of the same architectures, order, branches and number of classes.

    Returns:
        The same tensors in a new dict; ``state`` and ``cohort`` stay unchanged.

    Raises:
        UserError: A tensor is missing, left over, or of another shape, or branches are of another kind.
    """
    given = {key.removeprefix(_DATA_PARALLEL): tensor for key, tensor in state.items()}
    baseline = is_baseline(state)
    two_architectures = any(key.startswith("net1.") for key in given)
    official_keys: dict[str, str] = {}  # official key for each key of this project
    for i, (name, network) in enumerate(cohort.items()):
        if len(network.branches) and network.branch_kind != COPY:
            raise UserError(
                f"pair.{name}.branches={network.branch_kind}: auxiliary branches of official checkpoints are copies of"
                f" the later stages. Give pair.{name}.branches={COPY}."
            )
        prefix = f"net{i + 1}.module_list.0." if two_architectures else f"module_list.{i}."
        for key in network.state_dict():
            official = _official_key(key, network.backbone)
            alone = baseline and i == 0  # the tensors of a second network are then reported as missing
            official_keys[f"networks.{name}.{key}"] = official.removeprefix("backbone.") if alone else prefix + official
    expected = {official_keys[key]: tensor for key, tensor in cohort.state_dict().items()}
    _compare(given, expected, " and ".join(cohort.names))
    return {key: given[official] for key, official in official_keys.items()}


def is_baseline(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict of the official code holds one network without branches, not a pair."""
    return not any(key.removeprefix(_DATA_PARALLEL).startswith(("net1.", "module_list.")) for key in state)


def _compare(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], names: str) -> None:
    for problem, keys in (("lacks", expected.keys() - given.keys()), ("also holds", given.keys() - expected.keys())):
        if keys:
            raise UserError(
                f"this is not an official checkpoint of {names}: it {problem} {summarize(sorted(keys), 3)}. Give the"
                " networks that it was trained as with --pair."
            )
    for key, tensor in expected.items():
        if given[key].shape != tensor.shape:
            raise UserError(
                f"this is not an official checkpoint of {names}: {key} has shape {tuple(given[key].shape)}, not"
                f" {tuple(tensor.shape)}. Give what it was trained with: --pair, and --dataset for the classes."
            )


class _Names(NamedTuple):
    """The official names of one architecture's modules.

    Args:
        modules: modules of the backbone outside its stages, by the names of this project.
        units: the units that the official code numbers as a stage, by child of a stage here; "" means the whole stage.
            ``{k}`` is the number of the stage.
        in_unit: translates the path of a module inside a unit, the child included.
        branch_neck: neck of branch ``{k}``; ``{n}`` continues the numbering of the units of its stages.
        first_stage: official number of our first stage.
    """

    modules: dict[str, str]
    units: dict[str, str]
    in_unit: Callable[[list[str]], list[str]]
    branch_neck: str = ""
    first_stage: int = 1


def _official_key(key: str, backbone: Backbone) -> str:
    """Translate a key of one network, e.g. ``branches.0.head.classifier.weight``."""
    family = backbone.model if isinstance(backbone, TorchvisionBackbone) else type(backbone)
    if family not in _FAMILIES:
        raise UserError(f"network {backbone.name}: the official code has no such architecture.")
    names = _FAMILIES[family]
    *path, leaf = key.split(".")
    match path:
        case ["backbone", "stages", k, *path]:
            unit = names.units.get(path[0]) or names.units[""]
            module = ["backbone", unit.format(k=int(k) + names.first_stage), *names.in_unit(path)]
        case ["backbone", *path]:
            module = ["backbone", names.modules[".".join(path)]]
        case ["branches", k, "head", "classifier"]:
            module = ["auxiliary_classifier", f"fc{int(k) + 1}"]
        case ["branches", k, "head", "neck", i]:
            stages = len(backbone.stages) - int(k) - 1
            # The last stage of an HCGNet has no transition, so its neck follows one unit earlier.
            n = stages + int(i) if len(names.units) == 1 else 2 * stages - 1 + int(i)
            module = ["auxiliary_classifier", names.branch_neck.format(k=int(k) + 1, n=n)]
        case ["branches", k, "stages", s, *path]:
            position = list(names.units).index(path[0]) if path[0] in names.units else 0
            unit = str(len(names.units) * int(s) + position)
            module = ["auxiliary_classifier", f"block_extractor{int(k) + 1}", unit, *names.in_unit(path)]
        case _:
            raise AssertionError(key)
    return ".".join([*module, leaf])


def _in_wide_resnet(path: list[str]) -> list[str]:
    block, layer = path
    return ["layer", block, "convShortcut" if layer == "shortcut" else layer]


def _in_shufflenet(path: list[str]) -> list[str]:
    """Number the convolutions through both sides of a block; only a stage's first block has a left one."""
    block, side, layer = path
    order = {"branch1": (0, 1, 2, 3), "branch2": (0, 1, 3, 4, 5, 6)}[side].index(int(layer))  # conv, bn, conv, bn, ...
    first = 3 if block == "0" and side == "branch2" else 1
    return [block, f"{('conv', 'bn')[order % 2]}{first + order // 2}"]


def _in_hcgnet(path: list[str]) -> list[str]:
    match path:
        case ["smg", n, *layers]:
            return [f"SMG{int(n) + 1}", _GATED_LAYERS[".".join(layers)]]
        case [_, *layers]:
            return [_GATED_LAYERS[".".join(layers)]]
    raise AssertionError(path)


_GATED_LAYERS = {
    "reduce.0.0": "conv1_1x1.norm",
    "reduce.0.2": "conv1_1x1.conv",
    "reduce.1.0": "conv2_3x3.norm",
    "reduce.1.2": "conv2_3x3.conv",
    "gating.near.0": "conv_3x3.norm",
    "gating.near.2": "conv_3x3.conv",
    "gating.far.0": "conv_5x5.norm",  # the name is misleading: it is a dilated 3x3 convolution
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

_STEM = {"stem.0": "conv1", "stem.1": "bn1"}
_RESNET = _Names({**_STEM, "head.classifier": "fc"}, {"": "layer{k}"}, list)
_SHUFFLENET = _Names(
    {**_STEM, "head.neck.0": "conv2", "head.neck.1": "bn2", "head.classifier": "linear"},
    {"": "layer{k}"},
    _in_shufflenet,
    branch_neck="block_extractor{k}.{n}",
)
_FAMILIES: dict[type[Backbone] | str, _Names] = {  # keys: a class, or a torchvision name
    ResNet: _RESNET,
    WideResNet: _Names(
        {"stem": "conv1", "head.neck.0": "bn1", "head.classifier": "fc"},
        {"": "block{k}"},
        _in_wide_resnet,
        branch_neck="bn{k}",
    ),
    ShuffleNetV2: _SHUFFLENET,
    HCGNet: _Names(
        {"stem": "features.conv0", "head.neck.0": "norm5", "head.classifier": "classifier"},
        {"smg": "HybridBlock{k}", "transition": "Transition{k}"},
        _in_hcgnet,
        branch_neck="block_extractor{k}.{n}",
    ),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50"), _RESNET),
    # Our first stage is the max-pool, which the official code does not count.
    **dict.fromkeys(("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"), _SHUFFLENET._replace(first_stage=0)),
}
