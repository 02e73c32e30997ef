"""Networks with and without auxiliary branches: both return ``Outputs``. Branches exist only during training."""

from torch import Tensor, nn

from mcl.networks.backbone import Backbone
from mcl.types import Outputs


class Branched(nn.Module):
    """A backbone of S stages with S - 1 auxiliary branches.

    ``branches[k - 1]`` taps ``backbone.stages[k - 1]`` and goes on with its own copies of the stages that follow and
    its own head, so all stages end in features of one width (L-MCL, TPAMI 2023, auxiliary branches).

    Args:
        backbone: stage S, and the network that is deployed.
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        self.branches = nn.ModuleList(backbone.branch(k) for k in range(1, len(backbone.stages)))

    @property
    def widths(self) -> list[int]:
        """Feature width of each stage."""
        return [self.backbone.width] * len(self.backbone.stages)

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, channels, height, width) to the features and logits of stages 1..S, the backbone last."""
        ends = [*self.branches, self.backbone.head]
        maps = self.backbone.feature_maps(images)
        features, logits = zip(*(end(tapped) for end, tapped in zip(ends, maps, strict=True)), strict=True)
        return Outputs(list(features), list(logits))


class Unbranched(nn.Module):
    """A backbone alone: its ``Outputs`` hold one stage.

    Args:
        backbone: the network.
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone

    @property
    def widths(self) -> list[int]:
        """Feature width of the one stage."""
        return [self.backbone.width]

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, channels, height, width) to features and logits of the backbone."""
        features, logits = self.backbone.head(self.backbone.feature_maps(images)[-1])
        return Outputs([features], [logits])
