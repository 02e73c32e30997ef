"""Classifiers of timm and torchvision as backbones: the library's own model, cut into stem, stages and head."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from mcl.errors import UserError
from mcl.networks.backbone import Backbone, Branch, Head, MeanStd
from mcl.networks.counting import outline
from mcl.networks.library_models import (
    SIDE_OPTION,
    create_model,
    opaque_functions,
    pretrained_normalization,
    pretrained_state,
    test_images,
)
from mcl.networks.model_graph import Graph, between, build_part, path_of, read_graph
from mcl.networks.stage_search import Stages, choose_stages
from mcl.networks.torchvision import brief
from mcl.networks.weights import load_weights


class LibraryBackbone(Backbone):
    """A classifier of timm or torchvision, whose stages are found or named.

    The modules are those of the library's own model; `mcl.networks.model_graph` reads the order in which it runs them.
    In evaluation mode the logits equal the library's to the last bit, which the constructor checks on one image. The
    features are the inputs of the last layer. Weights start as the library initializes them, those of branches too.

    Args:
        name, num_classes: as in `Backbone` and `Head`.
        library: ``timm`` or ``torchvision``.
        model: the library's name of it, e.g. ``convnext_atto``.
        stages: paths of the modules whose outputs end the stages, e.g. ``[layer2, layer3, layer4]``; None finds them:
            each ends before the resolution falls, the last four of them; without reductions, at equal thirds of the
            blocks.
        weights: the library's name of pretrained weights (timm: a tag such as ``d2_in1k``) or ``DEFAULT``; None for new
            ones. If the number of classes differs, the classifier stays new.
        options: further arguments of the library's function, e.g. ``{img_size: 64}``.
        in_channels: channels of the images; torchvision's models take 3, or 1 as three equal ones.

    Raises:
        UserError: The library has no such model, or it cannot be cut into these stages.
    """

    def __init__(
        self,
        *,
        name: str,
        num_classes: int,
        library: str,
        model: str,
        stages: list[str] | None = None,
        weights: str | None = None,
        options: dict[str, Any] | None = None,
        in_channels: int = 3,
    ):
        self.library, self.model, self.weights = library, model, weights
        self.options = dict(options or {})
        self._create = functools.partial(
            create_model, library, model, num_classes=num_classes, in_channels=in_channels, options=self.options
        )
        source = self._create().eval()
        try:
            images = test_images(source, in_channels, self.options)
            graph = read_graph(source, images, num_classes, follow=stages or (), opaque=opaque_functions(library))
            chosen = choose_stages(graph, stages, getattr(source, "num_prefix_tokens", None))
            self._parts = _Parts(graph, chosen)
            stem, stages_built, head = self._parts.build(source)
        except (UserError, RuntimeError, AttributeError) as error:
            raise UserError(
                f"network {name}: {library}'s {model} cannot be cut into stages: {brief(error)}."
            ) from error
        self.stage_names, self.layouts, self._side = chosen.names, chosen.layouts, images.shape[-1]
        super().__init__(
            name=name,
            stem=stem,
            stages=stages_built,
            head=head,
            in_channels=in_channels,
            stride=max(1, round(self._side / chosen.layouts[-1].side)),
        )
        self._check_against(source, images)

    @property
    def test_side(self) -> int:
        """Side in pixels of images that the network surely takes."""
        return self._side

    def branch(self, k: int) -> Branch:
        """Return the stages after stage k (from 1) and the head of a new model of the library."""
        _, stages, head = self._parts.build(self._create())
        return Branch(stages[k:], head)

    def check_branches(self) -> None:
        """Raise UserError if there is only one stage, so nothing to branch from."""
        if len(self.stages) == 1:
            raise UserError(
                f"network {self.name}: its modules hand several values from one to the next, so only one stage was"
                f" found ({self.stage_names[0]}), and no branch can leave it. Choose a loss without auxiliary branches,"
                " such as loss=mcl, or another network."
            )

    def check_input(self, channels: int, image_size: int) -> None:
        """Raise ``UserError`` if square images of this size and these channels cannot be classified."""
        super().check_input(channels, image_size)
        if image_size == self._side:
            return
        try:
            with torch.no_grad():
                outline(self)(torch.empty(1, channels, image_size, image_size, device="meta"))
        except Exception as error:  # layers raise errors of many types for a size that does not fit
            raise UserError(
                f"network {self.name} does not take images of {image_size} x {image_size} pixels, but of {self._side} x"
                f" {self._side} ({brief(error)}). Set dataset.image_size={self._side} or, if the model has this option,"
                f" pair.NETWORK.options.{SIDE_OPTION[self.library]}={image_size}."
            ) from error

    def library_names(self) -> dict[str, str]:
        """Return the name of each parameter and buffer of the state dict in the library's own model."""
        names = {}
        for key in self.state_dict():
            part, _, rest = key.partition(".")
            names[key] = rest if part == "stem" else rest.partition(".")[2]  # behind the number of a stage, or "run"
        return names

    def library_model(self) -> nn.Module:
        """Return the library's own model, newly initialized."""
        return self._create()

    def load_pretrained(self) -> str | None:
        """Load the library's weights of the name ``weights``, if any, and return what was loaded.

        Raises:
            UserError: There are no such weights, or they cannot be fetched.
        """
        if self.weights is None:
            return None
        given = pretrained_state(
            self.library, self.model, self.weights, in_channels=self.in_channels, options=self.options
        )
        return load_weights(self, given, source=f"weights={self.weights}").text

    def pretrained_normalization(self) -> MeanStd | None:
        """Return the normalization that the library's weights of the name ``weights`` were trained with."""
        if self.weights is None:
            return None
        return pretrained_normalization(self.library, self.model, self.weights, self.in_channels)

    def _check_against(self, source: nn.Module, images: Tensor) -> None:
        """Raise ``UserError`` unless this computes the same as the model it was made from."""
        self.eval()
        source.eval()
        if not images.is_meta:
            with torch.no_grad():
                same = torch.equal(self(images), source(images))
            if not same:
                raise UserError(
                    f"network {self.name}: cut into {', '.join(self.stage_names)}, it does not compute what"
                    f" {self.library}'s {self.model} does. Please report this; name other modules with stages=[...]."
                )
        self.train()
        source.train()


class LibraryHead(Head):
    """The part of a library's model behind its last stage.

    Args:
        run: maps the output of the last stage to the inputs of the classifier and the logits (B, C).
        width: width d of the features.
        num_classes: C.
        axes: the axes of the classifier's inputs that are positions, which are averaged.
    """

    def __init__(self, run: fx.GraphModule, width: int, num_classes: int, axes: Sequence[int]):
        nn.Module.__init__(self)
        self.run = run
        self.axes = tuple(axes)
        self._width, self._num_classes = width, num_classes

    @property
    def width(self) -> int:
        """The width d of the features."""
        return self._width

    @property
    def num_classes(self) -> int:
        """The number of classes C."""
        return self._num_classes

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map the output of the last stage to features (B, d) and logits (B, C)."""
        features, logits = self.run(maps)
        return features.mean(dim=self.axes) if self.axes else features, logits


class _Parts:
    """The graphs of stem, stages and head, which any model of the same kind can be arranged by.

    Args:
        graph: the forward pass.
        chosen: where it is cut.
    """

    def __init__(self, graph: Graph, chosen: Stages):
        inputs = graph.classifier.all_input_nodes[0]
        starts = [None, chosen.stem, *chosen.ends[:-1]]
        ends = [chosen.stem or graph.nodes[0], *chosen.ends]
        self._graphs = [between(graph, start, [end]) for start, end in zip(starts, ends, strict=True)]
        self._head = between(graph, chosen.ends[-1], [inputs, graph.output])
        self._dimensions = len(graph.shapes[inputs])
        self.classifier = path_of(graph.classifier)

    def __deepcopy__(self, memo: Any) -> "_Parts":
        return self  # it does not change

    def build(self, model: nn.Module) -> tuple[fx.GraphModule, list[fx.GraphModule], LibraryHead]:
        """Return stem, stages and head made of a model's own modules."""
        stem, *stages = (build_part(model, graph) for graph in self._graphs)
        layer = model.get_submodule(self.classifier)
        if isinstance(layer, nn.Conv2d):
            width, classes, axes = layer.in_channels, layer.out_channels, [2, 3]
        else:
            assert isinstance(layer, nn.Linear)
            width, classes, axes = layer.in_features, layer.out_features, list(range(1, self._dimensions - 1))
        return stem, stages, LibraryHead(build_part(model, self._head), width, classes, axes)
