"""ResNets for images of CIFAR's size (He et al., CVPR 2016, sec. 4.2), of torchvision's blocks."""

from typing import Literal

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mcl.networks.backbone import Backbone, Branch, Head, check_depths, kaiming_fan_out

_BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}
_STEM_WIDTH = 16


class ResNet(Backbone):
    """A 3x3 stem of 16 channels and stages of residual blocks; after the first, each halves the side and doubles the
    channels.

    Args:
        name: how users call it.
        num_classes: classes C.
        depths: blocks in each stage.
        block: two 3x3 convolutions (``basic``), or 1x1-3x3-1x1 with four times wider outputs (``bottleneck``).
        in_channels: channels of the images.
    """

    def __init__(
        self,
        *,
        name: str,
        num_classes: int,
        depths: list[int],
        block: Literal["basic", "bottleneck"] = "basic",
        in_channels: int = 3,
    ):
        check_depths(depths)
        kind = _BLOCKS[block]
        widths = [_STEM_WIDTH * 2**k for k in range(len(depths))]
        inputs = [_STEM_WIDTH, *(kind.expansion * width for width in widths)]
        super().__init__(
            name=name,
            stem=nn.Sequential(
                nn.Conv2d(in_channels, _STEM_WIDTH, 3, padding=1, bias=False),
                nn.BatchNorm2d(_STEM_WIDTH),
                nn.ReLU(inplace=True),
            ),
            stages=[
                _stage(kind, inputs[k], widths[k], depth, stride=1 if k == 0 else 2) for k, depth in enumerate(depths)
            ],
            head=Head(inputs[-1], num_classes),
            in_channels=in_channels,
            stride=2 ** (len(depths) - 1),
        )

    initialise = staticmethod(kaiming_fan_out)

    def branch(self, k: int) -> Branch:
        """A branch as of any backbone, but the bias of its classifier starts at zero."""
        branch = super().branch(k)
        nn.init.zeros_(branch.head.classifier.bias)
        return branch


def _stage(kind: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, depth: int, stride: int) -> nn.Module:
    outputs = kind.expansion * width
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first = kind(inputs, width, stride, downsample)
    return nn.Sequential(first, *(kind(outputs, width) for _ in range(depth - 1)))
