"""ResNets for CIFAR-size images (He et al., CVPR 2016, sec. 4.2), built from torchvision's blocks."""

from functools import partial
from typing import Literal

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mcl.errors import check_choice
from mcl.networks.backbone import Backbone, BlockStages, Branch, Head, conv_bn_relu, kaiming_fan_out, make_stages
from mcl.networks.drop_path import DroppedBasicBlock, DroppedBottleneck, add_drop_path

_DROPPED: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": DroppedBasicBlock, "bottleneck": DroppedBottleneck}
_BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}
_STEM_WIDTH = 16


class ResNet(Backbone):
    """A 3x3 stem of 16 channels and stages of residual blocks; each after the first halves the side, doubles the width.

    Args:
        name, num_classes, in_channels: as in `Backbone` and `Head`.
        depths: blocks in each stage.
        block: two 3x3 convolutions (``basic``), or 1x1-3x3-1x1 with four times wider outputs (``bottleneck``).
        drop_path: probability in training that an image skips the last block; earlier blocks have smaller ones.

    Raises:
        UserError: There is no stage, or one without a block, no such ``block``, or ``drop_path`` is not a probability
            below 1.
    """

    def __init__(
        self,
        *,
        name: str,
        num_classes: int,
        depths: list[int],
        block: Literal["basic", "bottleneck"] = "basic",
        in_channels: int = 3,
        drop_path: float = 0.0,
    ):
        check_choice(f"{name}: block", block, tuple(_BLOCKS))
        kind = (_DROPPED if drop_path else _BLOCKS)[block]
        widths = [_STEM_WIDTH, *(_STEM_WIDTH * 2**k * kind.expansion for k in range(len(depths)))]
        blocks = BlockStages(partial(_block, kind), widths, depths, partial(Head, num_classes=num_classes))
        stages = make_stages(blocks.block, widths, depths, first_stride=1)
        if drop_path:
            add_drop_path(stages, drop_path)
        super().__init__(
            name=name,
            stem=conv_bn_relu(in_channels, _STEM_WIDTH, 3),
            stages=stages,
            head=blocks.head(widths[-1]),
            in_channels=in_channels,
            stride=2 ** (len(depths) - 1),
        )
        self.block_stages = blocks

    initialize = staticmethod(kaiming_fan_out)

    def branch(self, k: int) -> Branch:
        """Return a branch whose classifier starts with a zero bias."""
        branch = super().branch(k)
        nn.init.zeros_(branch.head.classifier.bias)
        return branch


def _block(kind: type[BasicBlock] | type[Bottleneck], inputs: int, outputs: int, stride: int) -> nn.Module:
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return kind(inputs, outputs // kind.expansion, stride, downsample)
