"""FFL: feature fusion for online mutual knowledge distillation (ICPR 2020, arXiv 1904.09058)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """A classifier on the last feature maps of all networks together.

    Depthwise 3x3 convolution, batch normalization, ReLU, 1x1 convolution, batch normalization, ReLU, pooling, linear.

    Args:
        widths: channels of the networks' maps; the fused map has as many as the first.
        classes: number of classes.
    """

    def __init__(self, widths: Sequence[int], classes: int):
        super().__init__()
        channels, width = sum(widths), widths[0]
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        for conv in (self.depthwise, self.pointwise):  # not the fan-in of a depthwise convolution: as the authors do
            nn.init.normal_(conv.weight, std=(2 / (conv.kernel_size[0] ** 2 * conv.out_channels)) ** 0.5)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map the networks' maps (B, width, H, W) to logits (B, C)."""
        x = self.bn1(self.depthwise(torch.cat(list(maps), dim=1))).relu()
        x = self.bn2(self.pointwise(x)).relu()
        return self.classifier(x.mean((-2, -1)))
