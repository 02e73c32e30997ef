"""Drop path, also called stochastic depth: skip residual blocks at random in training (Huang et al., ECCV 2016)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import StochasticDepth

from mcl.errors import UserError


class DroppedBasicBlock(BasicBlock):
    """torchvision's block of two convolutions, whose residual path may be dropped."""

    drop_path: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Map feature maps as the block does; the residual of some images is left out."""
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.drop_path(residual) + shortcut)


class DroppedBottleneck(Bottleneck):
    """torchvision's block of three convolutions, whose residual path may be dropped."""

    drop_path: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Map feature maps as the block does; the residual of some images is left out."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(residual)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.drop_path(residual) + shortcut)


def add_drop_path(stages: Sequence[nn.Module], rate: float) -> None:
    """Give each block a probability of being skipped, which grows linearly from 0 in the first one to ``rate``.

    Args:
        stages: sequences of blocks with a ``drop_path``.
        rate: probability of the last block.

    Raises:
        UserError: The rate is not a probability below 1.
    """
    if not 0 <= rate < 1:
        raise UserError(f"drop_path={rate}: must be a probability, from 0 to below 1.")
    blocks = [block for stage in stages for block in stage.children()]
    for i, block in enumerate(blocks, 1):
        share = 1.0 if len(blocks) == 1 else (i - 1) / (len(blocks) - 1)
        block.drop_path = StochasticDepth(rate * share, "row") if rate * share else nn.Identity()
