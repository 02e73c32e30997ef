"""HCGNets for CIFAR-size images ("Gated Convolutional Networks with Hybrid Connectivity", AAAI 2020)."""

import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.networks.backbone import Backbone, Head, bn_relu, check_depths


class AttentionPool(nn.Module):
    """The mean over space under softmax weights that a 1x1 convolution computes from the same map."""

    def __init__(self, channels: int):
        super().__init__()
        self.score = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map feature maps (B, channels, H, W) to (B, channels, 1, 1)."""
        weights = self.score(x).flatten(2).softmax(dim=-1)  # (B, 1, H W)
        return (x.flatten(2) @ weights.transpose(1, 2)).unsqueeze(-1)


class Gating(nn.Module):
    """A gate on each channel of the input, plus a mix of two receptive fields' pooled views of it.

    Args:
        channels: channels of the input and of the output.
        reduction: factor by which the hidden layers of both gates are narrower than their inputs.
    """

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        mixed, kept = 2 * channels // reduction, channels // reduction
        self.near = _depthwise(channels, dilation=1)
        self.near_pool = AttentionPool(channels)
        self.far = _depthwise(channels, dilation=2)
        self.far_pool = AttentionPool(channels)
        self.squeeze = nn.Sequential(nn.Conv2d(2 * channels, mixed, 1), nn.BatchNorm2d(mixed), nn.Tanh())
        self.near_score = nn.Conv2d(mixed, channels, 1)
        self.far_score = nn.Conv2d(mixed, channels, 1)
        self.keep = nn.Sequential(
            AttentionPool(channels),
            nn.Conv2d(channels, kept, 1),
            nn.BatchNorm2d(kept),
            nn.Tanh(),
            nn.Conv2d(kept, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map feature maps (B, channels, H, W) to feature maps of the same shape."""
        near, far = self.near_pool(self.near(x)), self.far_pool(self.far(x))  # (B, channels, 1, 1)
        hidden = self.squeeze(torch.cat([near, far], dim=1))
        share = torch.sigmoid(self.near_score(hidden) - self.far_score(hidden))  # the softmax across the two
        return x * self.keep(x) + (share * near + (1 - share) * far)


class SMG(nn.Module):
    """Squeeze, multi-scale excitation and gating: ``growth`` new channels, concatenated to the input."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.reduce = nn.Sequential(
            _bn_relu_conv(inputs, 4 * growth, 1), _bn_relu_conv(4 * growth, growth, 3, groups=4)
        )
        self.gating = Gating(growth, reduction=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map feature maps (B, inputs, H, W) to (B, inputs + growth, H, W)."""
        return torch.cat([x, self.gating(self.reduce(x))], dim=1)


class Transition(nn.Module):
    """Halves the channels and the side between two stages."""

    def __init__(self, inputs: int):
        super().__init__()
        outputs = inputs // 2
        hidden = inputs - (inputs - outputs) // 2
        self.reduce = nn.Sequential(_bn_relu_conv(inputs, hidden, 1), _bn_relu_conv(hidden, outputs, 3, stride=2))
        self.gating = Gating(outputs, reduction=4)

    def forward(self, x: Tensor) -> Tensor:
        """Map feature maps (B, inputs, H, W) to (B, inputs / 2, H / 2, W / 2)."""
        return self.gating(self.reduce(x))


class HCGNet(Backbone):
    """A bare 3x3 stem, stages of densely concatenated SMG modules, a transition at the end of all but the last.

    Args:
        name, num_classes, in_channels: as in `Backbone` and `Head`.
        depths: SMG modules in each stage.
        growths: channels that each module of a stage adds; a multiple of 4. The stem has twice the first.

    Raises:
        UserError: There is no stage, or one without a module, or ``growths`` does not have one multiple of 4 for each
            stage.
    """

    def __init__(self, *, name: str, num_classes: int, depths: list[int], growths: list[int], in_channels: int = 3):
        check_depths(depths)
        if len(growths) != len(depths) or any(growth < 4 or growth % 4 for growth in growths):
            raise UserError(f"growths={growths}: needs one multiple of 4 for each of the stages {depths}.")
        width = 2 * growths[0]
        stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        stages = []
        for k, (depth, growth) in enumerate(zip(depths, growths, strict=True), start=1):
            stage = nn.Sequential()
            stage.add_module("smg", nn.Sequential(*(SMG(width + n * growth, growth) for n in range(depth))))
            width += depth * growth
            if k < len(depths):
                stage.add_module("transition", Transition(width))
                width //= 2
            stages.append(stage)
        super().__init__(
            name=name,
            stem=stem,
            stages=stages,
            head=Head(width, num_classes, neck=bn_relu(width)),
            in_channels=in_channels,
            stride=2 ** (len(depths) - 1),
        )


def _bn_relu_conv(
    inputs: int, outputs: int, kernel_size: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), conv)


def _depthwise(channels: int, dilation: int) -> nn.Sequential:
    return _bn_relu_conv(channels, channels, 3, dilation=dilation, groups=channels)
