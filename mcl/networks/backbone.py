"""The backbone: a stem, stages and a head. Nothing here knows about distillation."""

import copy
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from mcl.errors import UserError


class Head(nn.Module):
    """Neck, global average pooling, linear classifier.

    Args:
        width: of the features d.
        num_classes: classes C.
        neck: what runs on the feature map before the pooling; nothing by default.
        hidden: what runs on the pooled feature map before the classifier; nothing by default.
    """

    def __init__(self, width: int, num_classes: int, neck: nn.Module | None = None, hidden: nn.Module | None = None):
        super().__init__()
        self.neck = nn.Identity() if neck is None else neck
        self.hidden = nn.Identity() if hidden is None else hidden
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps (B, channels, height, width) to pooled features (B, d) and logits (B, C)."""
        features = self.hidden(self.neck(maps).mean(dim=(2, 3)))
        return features, self.classifier(features)


class Branch(nn.Module):
    """Stages and a head: a tapped feature map to pooled features (B, d) and logits (B, C)."""

    def __init__(self, stages: Iterable[nn.Module], head: Head):
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.head = head

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps of the stage that the branch taps to pooled features (B, d) and logits (B, C)."""
        return self.head(self.stages(maps))


class Backbone(nn.Module):
    """An image classifier, ``backbone(images) -> logits``.

    A new architecture is a subclass whose constructor hands its stem, stages and head to this one. Where its weights
    do not start from PyTorch's defaults it overrides ``initialise``, and where its auxiliary branches are not copies
    of its own stages, ``stages_after`` or ``branch``. A layer that holds parameters has ``reset_parameters``, as
    PyTorch's own do, so that a copy of it can start afresh.

    Args:
        name: how users call it, e.g. ``resnet32``.
        stem: images (B, in_channels, height, width) to the input of the first stage.
        stages: modules run one after the other; auxiliary branches tap what a stage returns.
        head: the last stage's feature map to pooled features and logits.
        in_channels: channels of the images.
        stride: side of an image over the side of the last feature map.
    """

    def __init__(
        self, *, name: str, stem: nn.Module, stages: Iterable[nn.Module], head: Head, in_channels: int, stride: int
    ):
        super().__init__()
        self.name = name
        self.in_channels = in_channels
        self.stride = stride
        self.width = head.classifier.in_features
        self.num_classes = head.classifier.out_features
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.head = head
        self.apply(self.initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, height, width) to logits (B, num_classes)."""
        return self.head(self.feature_maps(images)[-1])[1]

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """What each stage returns, first to last."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def check_input(self, channels: int, image_size: int) -> None:
        """Raise ``UserError`` where images of this kind cannot be classified.

        Args:
            channels: channels of the images.
            image_size: side of the square images in pixels.
        """
        if channels != self.in_channels:
            raise UserError(
                f"network {self.name} was built for images of {self.in_channels} channels and was given {channels}: "
                f"build it with in_channels={channels}, or choose another dataset=."
            )
        if image_size < self.stride:
            raise UserError(
                f"network {self.name} has a total stride of {self.stride} and takes images of {self.stride} pixels "
                f"a side or more, not {image_size}. Choose larger images (dataset=) or another network (pair=)."
            )

    def load_pretrained(self) -> None:
        """Take over the weights that this network was told to start from. Called once, before training begins."""

    # What auxiliary branches are made of.

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """Set the first weights of one layer. Called on every submodule; keeps PyTorch's defaults unless overridden."""

    def stages_after(self, k: int) -> Iterable[nn.Module]:
        """The stages that a branch tapping stage k (from 1) is modelled on."""
        return self.stages[k:]

    def branch(self, k: int) -> Branch:
        """Newly initialised copies of the stages after stage k (from 1) and of the head."""
        return copy.deepcopy(Branch(self.stages_after(k), self.head)).apply(_reset).apply(self.initialise)


def kaiming_fan_out(module: nn.Module) -> None:
    """Draw the weights of a convolution as ResNets do (He et al., ICCV 2015): normal, variance 2 / fan-out."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def check_depths(depths: Sequence[int]) -> None:
    """Raise ``UserError`` unless there is a stage, and at least one block in each."""
    if not depths or min(depths) < 1:
        raise UserError(f"depths={list(depths)}: needs one number of blocks for each stage, all of them at least 1.")


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        reset()
