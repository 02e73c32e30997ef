"""Backbones with auxiliary branches (L-MCL, arXiv 2207.11518), which exist only during training."""

from typing import cast

from torch import Tensor, nn

from mcl.networks.backbone import Backbone, Branch, classifier_of
from mcl.networks.branch_kinds import make_branches
from mcl.networks.branch_names import COPY
from mcl.types import NetworkShape, Outputs


class Network(nn.Module):
    """A backbone in training: of S stages with S - 1 auxiliary branches, or of one stage, the backbone alone.

    ``branches[k - 1]`` taps ``backbone.stages[k - 1]`` and ends in features and logits of its own.

    Args:
        backbone: the last stage, and what is deployed.
        branched: add the branches.
        branch_kind: what a branch is, see `mcl.networks.branch_kinds`.
        maps: return the feature maps of the backbone's stages too.
        frozen: keep the network in evaluation mode, and its parameters as they are.
        frozen_stages: do so with the stem and this many first stages of the backbone; 0 for none.

    Raises:
        UserError: It is ``branched``, and there is no such kind of branches or the backbone cannot have them.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        branched: bool,
        branch_kind: str = COPY,
        maps: bool = False,
        frozen: bool = False,
        frozen_stages: int = 0,
    ):
        super().__init__()
        self.backbone = backbone
        self.branch_kind = branch_kind
        self.returns_maps = maps
        self.frozen = frozen
        self.frozen_stages = frozen_stages
        self.branches = nn.ModuleList(make_branches(backbone, branch_kind) if branched else ())
        for module in self.frozen_modules():
            module.requires_grad_(False).eval()

    def frozen_modules(self) -> list[nn.Module]:
        """Return the parts that are never trained: all of a frozen network, or its stem and first stages, or none."""
        if self.frozen:
            return [self]
        backbone = self.backbone
        return [backbone.stem, *backbone.stages[: self.frozen_stages]] if self.frozen_stages else []

    def classifiers(self) -> list[nn.Module]:
        """Return the layers that compute logits: those of the branches, then that of the backbone."""
        heads = [cast(Branch, branch).head for branch in self.branches]
        return [*(classifier_of(head, self.backbone.num_classes) for head in heads), self.backbone.classifier]

    def train(self, mode: bool = True) -> "Network":
        """Choose training or evaluation mode; frozen parts stay in evaluation mode."""
        super().train(mode and not self.frozen)
        if mode and not self.frozen:
            for module in self.frozen_modules():
                module.eval()
        return self

    @property
    def widths(self) -> list[int]:
        """The feature width of each stage."""
        return [*(cast(Branch, branch).head.width for branch in self.branches), self.backbone.width]

    def shape(self) -> NetworkShape:
        """Return the sizes of the network; those of the feature maps are found without computing any.

        Raises:
            UserError: its stages do not fit one another.
        """
        maps = self.backbone.map_shapes(self.backbone.test_side)
        return NetworkShape(self.widths, [channels for channels, *_ in maps], self.backbone.num_classes, self.frozen)

    def forward(self, images: Tensor) -> Outputs:
        """Map images (B, channels, height, width) to features and logits of each stage, the backbone last."""
        return self.outputs(self.backbone.feature_maps(images))

    def outputs(self, maps: list[Tensor]) -> Outputs:
        """Map the feature maps of the backbone's stages to features and logits of each stage."""
        ends = [*self.branches, self.backbone.head]
        features, logits = zip(*(end(tap) for end, tap in zip(ends, maps[-len(ends) :], strict=True)), strict=True)
        return Outputs(list(features), list(logits), self._as_maps(maps) if self.returns_maps else ())

    def _as_maps(self, outputs: list[Tensor]) -> list[Tensor]:
        return [self.backbone.as_map(k, features) for k, features in enumerate(outputs)]
