"""The kinds of auxiliary branches: what follows each stage but the last while a network trains.

- ``copy``: new copies of the later stages and of the head, as L-MCL has them (`Backbone.branch`).
- ``light``: average pooling, a hidden layer and a classifier.
- ``byot``: the bottlenecks of Be Your Own Teacher (ICCV 2019, arXiv 1905.08094), for any backbone.
- ``dks``: the auxiliary branches of Deeply-supervised Knowledge Synergy (CVPR 2019, arXiv 1906.00675), for backbones
  whose stages `make_stages` makes.
"""

import copy
from collections.abc import Callable

from torch import nn

from mcl.errors import UserError
from mcl.networks.backbone import Backbone, Branch, Head, kaiming_fan_out, make_stages
from mcl.networks.branch_names import BRANCH_KINDS, BYOT, COPY, DKS, LIGHT, check_kind
from mcl.networks.feature_layout import AsMap


def make_branches(backbone: Backbone, kind: str) -> list[Branch]:
    """Return a newly initialized branch for each stage of a backbone but the last.

    Args:
        backbone: whose outputs of stages the branches take.
        kind: see `mcl.networks.branch_names.BRANCH_KINDS`.

    Raises:
        UserError: there is no such kind, or the backbone cannot have these branches.
    """
    check_fits(backbone, kind)
    backbone.check_branches()
    return _MAKERS[kind](backbone)


def check_fits(backbone: Backbone, kind: str, option: str = "branches") -> None:
    """Raise UserError if there is no such kind of branches, or a backbone cannot have it.

    Args:
        backbone: the network.
        kind: the kind.
        option: that chooses the kind, for the message.
    """
    check_kind(option, kind)
    if kind not in kinds_of(backbone):
        raise UserError(
            f"{option}={kind}: {backbone.name} is not built of blocks, as resnet8, wrn_16_2 and shufflenetv2_1x are, so"
            f" it cannot have the branches of DKS. Give {option}=byot, light or copy."
        )


def kinds_of(backbone: Backbone) -> list[str]:
    """Return the kinds of branches that a backbone can have."""
    return [kind for kind in BRANCH_KINDS if kind != DKS or backbone.block_stages is not None]


def bottleneck_branch(channels: int, width: int, num_classes: int, *, shrink: int) -> Branch:
    """Return a side head of BYOT: 1x1, strided and 1x1 convolutions with BN and ReLU, pooling, a classifier.

    Args:
        channels: of the feature maps that it takes.
        width: of its features.
        num_classes: C.
        shrink: kernel size and stride of the second convolution; maps are at least of this side.
    """
    hidden = max(1, width // 4)
    layers = [_conv_bn_relu(channels, hidden), _conv_bn_relu(hidden, hidden, shrink), _conv_bn_relu(hidden, width)]
    return Branch(layers, Head(width, num_classes)).apply(kaiming_fan_out)


def _conv_bn_relu(inputs: int, outputs: int, size: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride=size), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _copies(backbone: Backbone) -> list[Branch]:
    return [backbone.branch(k) for k in range(1, len(backbone.stages))]


def _light_branches(backbone: Backbone) -> list[Branch]:
    branches, width = [], backbone.width
    for k, (channels, *_) in enumerate(backbone.map_shapes(backbone.test_side)[:-1]):
        hidden = nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width), nn.GELU())
        branches.append(Branch([], Head(width, backbone.num_classes, neck=_as_map(backbone, k), hidden=hidden)))
    return branches


def _byot_branches(backbone: Backbone) -> list[Branch]:
    *shapes, (_, last_side, _) = backbone.map_shapes(backbone.test_side)
    branches = []
    for k, (channels, side, _) in enumerate(shapes):
        shrink = max(1, side // last_side)
        branch = bottleneck_branch(channels, backbone.width, backbone.num_classes, shrink=shrink)
        if (as_map := _as_map(backbone, k)) is not None:
            branch.stages.insert(0, as_map)
        branches.append(branch)
    return branches


def _dks_branches(backbone: Backbone) -> list[Branch]:
    """Return branches of the later stages' blocks: half as many in the last one, or twice the width if it is alone."""
    made = backbone.block_stages
    assert made is not None, "checked by check_fits"
    branches = []
    for k in range(1, len(made.depths)):
        widths, depths = list(made.widths[k:]), list(made.depths[k:])
        if len(depths) == 1:
            widths[-1] *= 2
        else:
            depths[-1] = max(1, depths[-1] // 2)
        stages = make_stages(made.block, widths, depths, first_stride=2)
        _take_drop_path(stages, list(backbone.stages[k:]))
        branches.append(Branch(stages, made.head(widths[-1])).apply(backbone.initialize))
    return branches


def _take_drop_path(stages: list[nn.Module], sources: list[nn.Module]) -> None:
    """Let blocks be dropped as often as those at their places in other stages."""
    for stage, source in zip(stages, sources, strict=True):
        for block, original in zip(stage.children(), source.children(), strict=False):
            if hasattr(original, "drop_path"):
                block.drop_path = copy.deepcopy(original.drop_path)


def _as_map(backbone: Backbone, k: int) -> AsMap | None:
    """Return a module that turns outputs of stage k (from 0) into maps; None if they are maps."""
    return AsMap(backbone.layouts[k]) if backbone.layouts else None


_MAKERS: dict[str, Callable[[Backbone], list[Branch]]] = {
    COPY: _copies,
    LIGHT: _light_branches,
    BYOT: _byot_branches,
    DKS: _dks_branches,
}
