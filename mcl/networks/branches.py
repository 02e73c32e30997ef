"""Backbones with auxiliary branches (L-MCL, arXiv 2207.11518), which exist only during training."""

from torch import Tensor, nn

from mcl.networks.backbone import Backbone
from mcl.types import Outputs


class Network(nn.Module):
    """A backbone in training: of S stages with S - 1 auxiliary branches, or of one stage, the backbone alone.

    ``branches[k - 1]`` taps ``backbone.stages[k - 1]`` and continues with its own copies of the later stages and its
    own head, so all stages end in features of one width.

    Args:
        backbone: the last stage, and what is deployed.
        branched: add the branches.
    """

    def __init__(self, backbone: Backbone, *, branched: bool):
        super().__init__()
        self.backbone = backbone
        taps = range(1, len(backbone.stages)) if branched else ()
        self.branches = nn.ModuleList(backbone.branch(k) for k in taps)

    @property
    def widths(self) -> list[int]:
        """The feature width of each stage."""
        return [self.backbone.width] * (len(self.branches) + 1)

    def forward(self, images: Tensor) -> Outputs:
        """Map images (B, channels, height, width) to features and logits of each stage, the backbone last."""
        ends = [*self.branches, self.backbone.head]
        taps = self.backbone.feature_maps(images)[-len(ends) :]
        features, logits = zip(*(end(tap) for end, tap in zip(ends, taps, strict=True)), strict=True)
        return Outputs(list(features), list(logits))
