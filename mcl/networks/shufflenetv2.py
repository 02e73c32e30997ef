"""ShuffleNetV2 (Ma et al., ECCV 2018) for CIFAR-size images, built from torchvision's blocks."""

from functools import partial

from torchvision.models.shufflenetv2 import InvertedResidual

from mcl.errors import UserError
from mcl.networks.backbone import Backbone, BlockStages, Head, conv_bn_relu, make_stages

_STEM_WIDTH = 24
_LAST_WIDTH = 1024


class ShuffleNetV2(Backbone):
    """A 3x3 stem of stride 1, stages whose first block halves the side, a 1x1 convolution to 1024 channels.

    Args:
        name, num_classes, in_channels: as in `Backbone` and `Head`.
        depths: blocks in each stage, including the one that halves the side.
        widths: channels of each stage, even.

    Raises:
        UserError: There is no stage, or one without a block, or ``widths`` does not have one even number for each
            stage.
    """

    def __init__(self, *, name: str, num_classes: int, depths: list[int], widths: list[int], in_channels: int = 3):
        if len(widths) != len(depths) or any(width % 2 for width in widths):
            raise UserError(f"widths={widths}: needs one even number of channels for each of the stages {depths}.")
        blocks = BlockStages(InvertedResidual, [_STEM_WIDTH, *widths], depths, partial(_head, num_classes))
        super().__init__(
            name=name,
            stem=conv_bn_relu(in_channels, _STEM_WIDTH, 3),
            stages=make_stages(blocks.block, blocks.widths, depths, first_stride=2),
            head=blocks.head(widths[-1]),
            in_channels=in_channels,
            stride=2 ** len(depths),
        )
        self.block_stages = blocks


def _head(num_classes: int, channels: int) -> Head:
    return Head(_LAST_WIDTH, num_classes, neck=conv_bn_relu(channels, _LAST_WIDTH, 1))
