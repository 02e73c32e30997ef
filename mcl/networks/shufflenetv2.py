"""ShuffleNetV2 (Ma et al., ECCV 2018) for images of CIFAR's size, of torchvision's blocks."""

from torch import nn
from torchvision.models.shufflenetv2 import InvertedResidual

from mcl.errors import UserError
from mcl.networks.backbone import Backbone, Head, check_depths

_STEM_WIDTH = 24
_LAST_WIDTH = 1024


class ShuffleNetV2(Backbone):
    """A 3x3 stem of stride 1, stages that each halve the side in their first block, a 1x1 convolution to 1024.

    Args:
        name: how users call it.
        num_classes: classes C.
        depths: blocks in each stage, the one that halves the side included.
        widths: channels of each stage, even.
        in_channels: channels of the images.
    """

    def __init__(self, *, name: str, num_classes: int, depths: list[int], widths: list[int], in_channels: int = 3):
        check_depths(depths)
        if len(widths) != len(depths) or any(width % 2 for width in widths):
            raise UserError(f"widths={widths}: needs one even number of channels for each of the stages {depths}.")
        inputs = [_STEM_WIDTH, *widths]
        super().__init__(
            name=name,
            stem=_conv_bn_relu(in_channels, _STEM_WIDTH, 3),
            stages=[_stage(inputs[k], inputs[k + 1], depth) for k, depth in enumerate(depths)],
            head=Head(_LAST_WIDTH, num_classes, neck=_conv_bn_relu(widths[-1], _LAST_WIDTH, 1)),
            in_channels=in_channels,
            stride=2 ** len(depths),
        )


def _stage(inputs: int, outputs: int, depth: int) -> nn.Module:
    down = InvertedResidual(inputs, outputs, 2)
    return nn.Sequential(down, *(InvertedResidual(outputs, outputs, 1) for _ in range(depth - 1)))


def _conv_bn_relu(inputs: int, outputs: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
