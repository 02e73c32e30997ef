"""The backbone: a stem, stages and a head. Nothing here knows about distillation."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.networks.counting import outline
from mcl.networks.feature_layout import Layout


class MeanStd(NamedTuple):
    """A normalization of images: mean and standard deviation of each channel, in [0, 1] units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Head(nn.Module):
    """Neck, global average pooling, hidden layers, linear classifier.

    Args:
        width: width d of the features.
        num_classes: C.
        neck: runs on the feature map before the pooling; nothing by default.
        hidden: runs on the pooled features before the classifier; nothing by default.
    """

    def __init__(self, width: int, num_classes: int, neck: nn.Module | None = None, hidden: nn.Module | None = None):
        super().__init__()
        self.neck = nn.Identity() if neck is None else neck
        self.hidden = nn.Identity() if hidden is None else hidden
        self.classifier = nn.Linear(width, num_classes)

    @property
    def width(self) -> int:
        """The width d of the features."""
        return self.classifier.in_features

    @property
    def num_classes(self) -> int:
        """The number of classes C."""
        return self.classifier.out_features

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map feature maps (B, channels, height, width) to pooled features (B, d) and logits (B, C)."""
        features = self.hidden(self.neck(maps).mean(dim=(2, 3)))
        return features, self.classifier(features)


class Branch(nn.Module):
    """The stages and the head that follow a tapped stage."""

    def __init__(self, stages: Iterable[nn.Module], head: Head):
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.head = head

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map feature maps of the tapped stage to pooled features (B, d) and logits (B, C)."""
        return self.head(self.stages(maps))


class BlockStages(NamedTuple):
    """How a network makes its stages of blocks, and the head behind them.

    Args:
        block: makes a block from the channels of its input and output, and a stride.
        widths: channels of the stem, then of each stage.
        depths: blocks in each stage.
        head: makes a head for feature maps of the given channels.
    """

    block: Callable[[int, int, int], nn.Module]
    widths: Sequence[int]
    depths: Sequence[int]
    head: Callable[[int], Head]


class Backbone(nn.Module):
    """An image classifier, ``backbone(images) -> logits``.

    A new architecture is a subclass whose constructor passes its stem, stages and head to this one. It overrides
    ``initialize`` if its weights do not start from PyTorch's defaults, and ``stages_after`` or ``branch`` if its
    auxiliary branches of the kind ``copy`` are not copies of its own stages. A layer with parameters has
    ``reset_parameters``, as PyTorch's layers do, so that a copy of it can be initialized again.

    Args:
        name: name of the architecture, e.g. ``resnet32``.
        stem: maps images (B, in_channels, height, width) to the input of the first stage.
        stages: run one after the other; auxiliary branches tap their outputs.
        head: maps the last stage's output to pooled features and logits.
        in_channels: channels of the images.
        stride: side of an image divided by the side of the last feature map.
    """

    stage_names: Sequence[str] = ()  # what the stages end with, if they were found in a model
    layouts: Sequence[Layout] = ()  # of the stages' outputs; none: all are maps
    block_stages: BlockStages | None = None  # if its stages are made by `make_stages`
    library: str = ""  # that the network comes from, as `library_names` says: torchvision, timm

    def __init__(
        self, *, name: str, stem: nn.Module, stages: Iterable[nn.Module], head: Head, in_channels: int, stride: int
    ):
        super().__init__()
        if hasattr(type(self), "initialise"):  # as an earlier version called it; it would start from other weights
            raise UserError(f"{type(self).__name__}.initialise: this method is called initialize. Rename it.")
        self.name = name
        self.in_channels = in_channels
        self.stride = stride
        self.width = head.width
        self.num_classes = head.num_classes
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.head = head
        self.apply(self.initialize)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, height, width) to logits (B, num_classes)."""
        return self.head(self.feature_maps(images)[-1])[1]

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the output of each stage, first to last: (B, channels, height, width), or as in ``layouts``.

        Args:
            images: (B, in_channels, height, width).
        """
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    @property
    def test_side(self) -> int:
        """Side in pixels of images that the network surely takes, to find the shapes of its feature maps."""
        return 4 * self.stride

    def as_map(self, k: int, features: Tensor) -> Tensor:
        """Return the output of stage k (from 0) as feature maps (B, channels, height, width)."""
        return self.layouts[k].as_map(features) if self.layouts else features

    def map_shapes(self, image_size: int) -> list[tuple[int, ...]]:
        """Return (channels, height, width) of the feature map of each stage, found without computing any.

        Args:
            image_size: side of the images in pixels.

        Raises:
            UserError: the stages do not fit one another.
        """
        images = torch.empty(1, self.in_channels, image_size, image_size, device="meta")
        try:
            with torch.no_grad():
                outputs = outline(self).feature_maps(images)
            maps = [self.as_map(k, features) for k, features in enumerate(outputs)]
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"network {self.name}: stem and stages do not fit one another ({reason}).") from error
        return [tuple(stage.shape[1:]) for stage in maps]

    def check_branches(self) -> None:
        """Raise ``UserError`` if the network cannot have auxiliary branches. Called if the loss needs them."""

    def check_input(self, channels: int, image_size: int) -> None:
        """Raise ``UserError`` if square images of this size and these channels cannot be classified."""
        if channels != self.in_channels:
            raise UserError(
                f"network {self.name} was built for images of {self.in_channels} channels and was given {channels}: "
                f"build it with in_channels={channels}, or choose another dataset=."
            )
        if image_size < self.stride:
            raise UserError(
                f"network {self.name} has a total stride of {self.stride} and needs images of at least {self.stride} x "
                f"{self.stride} pixels, not {image_size}. Choose larger images (dataset=) or another network (pair=)."
            )

    def check_stride(self, path: str) -> None:
        """Raise ``UserError`` if the side of the last feature map contradicts ``stride``; shapes alone are computed.

        Args:
            path: of the network in the configuration, for the message.
        """
        side = 4 * self.stride
        try:
            last = self.map_shapes(side)[-1][-1]
        except Exception:  # the forward pass itself fails; training reports it
            return
        if not 2 < last < 8:
            raise UserError(
                f"{path}: {self.name} says stride={self.stride}, but its last stage makes {last} x {last} of {side} x"
                f" {side} pixels, which is a stride of about {side / max(last, 1):g}. Give this number as stride to"
                " Backbone.__init__."
            )

    def load_pretrained(self) -> str | None:
        """Load the pretrained weights of this network, if it has any, and return what was loaded, for the user.

        Called once, before training begins, unless the weights come from a file or a run.
        """
        return None

    def pretrained_normalization(self) -> MeanStd | None:
        """Return the normalization that the weights of `load_pretrained` were trained with; None if it is unknown."""
        return None

    def library_model(self) -> nn.Module | None:
        """Return a new model of the library that this network comes from, of its kind; None if it comes from none."""
        return None

    @property
    def classifier(self) -> nn.Module:
        """The layer that computes the logits."""
        return classifier_of(self.head, self.num_classes)

    def library_names(self) -> dict[str, str]:
        """Return the names of this network's tensors in the library that it comes from, by those in its state dict.

        Empty if it comes from none.
        """
        return {}

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Initialize one layer. Called on every submodule; keeps PyTorch's defaults unless overridden."""

    def stages_after(self, k: int) -> Iterable[nn.Module]:
        """Return the stages that a branch tapping stage k (from 1) copies."""
        return self.stages[k:]

    def branch(self, k: int) -> Branch:
        """Return newly initialized copies of the stages after stage k (from 1) and of the head."""
        return copy.deepcopy(Branch(self.stages_after(k), self.head)).apply(_reset).apply(self.initialize)


def classifier_of(head: nn.Module, num_classes: int) -> nn.Module:
    """Return the last layer of a head: its ``classifier``, or the last one with an output for each class.

    A head without such a layer, as one of cosines is, is its own classifier.
    """
    layer = getattr(head, "classifier", None)
    if isinstance(layer, nn.Module):
        return layer
    layers = [each for each in head.modules() if isinstance(each, nn.Linear | nn.Conv2d)]
    return next((each for each in reversed(layers) if each.weight.shape[0] == num_classes), head)


def tensor_names(module: nn.Module, *layers: nn.Module) -> list[str]:
    """Return the names in the state dict of a module of the tensors of some of its layers."""
    tensors = {id(tensor) for layer in layers for tensor in layer.state_dict(keep_vars=True).values()}
    return [name for name, tensor in module.state_dict(keep_vars=True).items() if id(tensor) in tensors]


def kaiming_fan_out(module: nn.Module) -> None:
    """Initialize a convolution as ResNets do (He et al., ICCV 2015): normal, variance 2 / fan-out."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def check_depths(depths: Sequence[int]) -> None:
    """Raise ``UserError`` unless there is a stage, and at least one block in each."""
    if not depths or min(depths) < 1:
        raise UserError(f"depths={list(depths)}: needs one number of blocks for each stage, all of them at least 1.")


def make_stages(
    block: Callable[[int, int, int], nn.Module], widths: Sequence[int], depths: Sequence[int], first_stride: int
) -> list[nn.Module]:
    """Build stages whose first block changes the width and, by its stride, the side.

    Args:
        block: takes the channels of its input and output, and a stride.
        widths: channels of the stem, then of each stage.
        depths: blocks in each stage.
        first_stride: stride of the first stage; later stages have stride 2.

    Raises:
        UserError: There is no stage, or one without a block.
    """
    check_depths(depths)
    stages: list[nn.Module] = []
    for k, depth in enumerate(depths):
        first = block(widths[k], widths[k + 1], 2 if stages else first_stride)
        rest = (block(widths[k + 1], widths[k + 1], 1) for _ in range(depth - 1))
        stages.append(nn.Sequential(first, *rest))
    return stages


def conv_bn_relu(inputs: int, outputs: int, kernel_size: int) -> nn.Sequential:
    """Return a convolution of stride 1 that keeps the side, batch normalization and ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def bn_relu(channels: int) -> nn.Sequential:
    """Return batch normalization and ReLU."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        reset()
