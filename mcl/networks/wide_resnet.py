"""Wide ResNets for CIFAR-size images (Zagoruyko and Komodakis, BMVC 2016)."""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu

from mcl.networks.backbone import Backbone, BlockStages, Head, bn_relu, kaiming_fan_out, make_stages
from mcl.networks.drop_path import add_drop_path

_STEM_WIDTH = 16


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv twice, added to the input; a 1x1 convolution of the activated input if the width changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.drop_path: nn.Module = nn.Identity()  # see `add_drop_path`
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map feature maps (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        active = relu(self.bn1(x), inplace=True)
        residual = self.conv2(relu(self.bn2(self.conv1(active)), inplace=True))
        return self.drop_path(residual) + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(Backbone):
    """A bare 3x3 stem of 16 channels, stages of pre-activation blocks, BN-ReLU before the pooling.

    WRN-d-w has three ``depths`` of (d - 4) / 6 and ``widen_factor`` w.

    Args:
        name, num_classes, in_channels: as in `Backbone` and `Head`.
        depths: blocks in each stage.
        widen_factor: the first stage has 16 times as many channels; each later one doubles them.
        drop_path: probability in training that an image skips the last block; earlier blocks have smaller ones.

    Raises:
        UserError: There is no stage, or one without a block, or ``drop_path`` is not a probability below 1.
    """

    def __init__(
        self,
        *,
        name: str,
        num_classes: int,
        depths: list[int],
        widen_factor: int,
        in_channels: int = 3,
        drop_path: float = 0.0,
    ):
        widths = [_STEM_WIDTH, *(_STEM_WIDTH * widen_factor * 2**k for k in range(len(depths)))]
        blocks = BlockStages(PreActivationBlock, widths, depths, partial(_head, num_classes))
        stages = make_stages(blocks.block, widths, depths, first_stride=1)
        add_drop_path(stages, drop_path)
        super().__init__(
            name=name,
            stem=nn.Conv2d(in_channels, _STEM_WIDTH, 3, padding=1, bias=False),
            stages=stages,
            head=blocks.head(widths[-1]),
            in_channels=in_channels,
            stride=2 ** (len(depths) - 1),
        )
        self.block_stages = blocks

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Initialize convolutions as in ResNets, and the biases of classifiers with zero."""
        kaiming_fan_out(module)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def _head(num_classes: int, channels: int) -> Head:
    return Head(channels, num_classes, neck=bn_relu(channels))
