"""Torchvision's classifiers as backbones: their own modules, arranged as stem, stages and head."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import get_model, get_model_weights, list_models

from mcl.console import summarize
from mcl.errors import UserError, did_you_mean
from mcl.networks.backbone import Backbone, Branch, Head, MeanStd
from mcl.networks.weights import load_weights

COLORS = 3  # channels of the images that torchvision's models take


class TorchvisionBackbone(Backbone):
    """A classifier of torchvision whose stages are named.

    Stem, stages, neck and head are names of its modules (``layer1``, ``features.3``) or lists of names, run one after
    the other; a Sequential stands for its children. Between neck and head lies global average pooling. Together they
    must be the whole model. The constructor checks this by comparing the parameters and the output.

    An auxiliary branch takes its stages from a new model of the same kind, and from each stage its first blocks, as
    many as ``branch_depths`` sets. Weights start as torchvision initializes them.

    Args:
        name, num_classes, stride: as in `Backbone` and `Head`.
        model: torchvision's name of it, e.g. ``resnet50``.
        stem: the modules before the first stage.
        stages: the S stages, whose outputs branches tap.
        neck: the modules between the last stage and the pooling; branches have their own copy.
        head: the modules after the pooling, ending in a linear layer, whose inputs are the features.
        branch_depths: blocks kept of each stage in the branches after stages 1..S-1; None keeps all.
        weights: ``DEFAULT`` or another name of torchvision's pretrained weights, downloaded once; None for new ones.
            If the number of classes differs, the classifier stays new.
        in_channels: 3, or 1 for gray images, which are treated as color images of three equal channels.

    Raises:
        UserError: torchvision has no such classifier, or the named modules do not compute what it does.
    """

    library = "torchvision"

    def __init__(
        self,
        *,
        name: str,
        num_classes: int,
        model: str,
        stem: list[str],
        stages: list[str | list[str]],
        head: str,
        neck: list[str] | None = None,
        branch_depths: list[int | None] | None = None,
        weights: str | None = None,
        stride: int = 32,
        in_channels: int = COLORS,
    ):
        known = list_models(module=models)
        if model not in known:
            near = did_you_mean(model, known, count=3)
            raise UserError(f"network {name}: model={model} is not a classifier of torchvision.{near}")
        if in_channels not in (1, COLORS):
            raise UserError(f"network {name}: in_channels={in_channels}: must be 3 (color) or 1 (gray).")
        depths = branch_depths or [None] * (len(stages) - 1)
        if len(depths) != len(stages) - 1 or any(depth is not None and depth < 1 for depth in depths):
            raise UserError(
                f"network {name}: branch_depths={branch_depths}: needs one number of blocks (1 or more, or null for"
                f" all) for each of the {len(stages) - 1} branches of {len(stages)} stages."
            )
        self.model, self.weights, self.depths = model, weights, depths
        self._split = partial(_split, name=name, stem=stem, stages=stages, neck=neck or [], head=head)
        source = get_model(model, weights=None, num_classes=num_classes)
        parts = self._split(source)
        super().__init__(name=name, **parts._asdict(), in_channels=COLORS, stride=stride)
        self._check_against(source)
        self.in_channels = in_channels
        if in_channels == 1:
            make_gray(parts.stem)

    def branch(self, k: int) -> Branch:
        """Return the stages after stage k (from 1) and the head of a new model, cut to ``branch_depths``.

        Raises:
            UserError: The blocks that ``branch_depths`` keeps do not fit one another.
        """
        parts, depth = self._split(self.library_model()), self.depths[k - 1]
        branch = Branch((stage[:depth] for stage in parts.stages[k:]), parts.head)
        try:
            _evaluate(lambda image: branch(self.feature_maps(image)[k - 1]), self._test_image(), self, branch)
        except RuntimeError as error:
            raise UserError(
                f"network {self.name}: branch_depths={self.depths}: the first {depth} blocks of each stage after stage"
                f" {k} do not fit one another ({brief(error)}). Use null for all blocks."
            ) from error
        return branch

    def load_pretrained(self) -> str | None:
        """Load torchvision's weights of the name ``weights``, if any, and return what was loaded.

        Raises:
            UserError: There are no such weights, or they cannot be fetched.
        """
        if self.weights is None:
            return None
        return load_weights(self, _fetch_weights(self.model, self.weights), source=f"weights={self.weights}").text

    def pretrained_normalization(self) -> MeanStd | None:
        """Return the normalization that torchvision's weights of the name ``weights`` were trained with."""
        return None if self.weights is None else normalization_of(self.model, self.weights, self.in_channels)

    def library_model(self) -> nn.Module:
        """Return torchvision's own model, newly initialized."""
        return get_model(self.model, weights=None, num_classes=self.num_classes)

    def library_names(self) -> dict[str, str]:
        """Return torchvision's names of this network's tensors, by those in its state dict."""
        with torch.device("meta"):
            source = self.library_model()
            parts = self._split(source)
        theirs = {id(tensor): name for name, tensor in source.state_dict(keep_vars=True).items()}
        arranged = nn.ModuleDict({"stem": parts.stem, "stages": nn.ModuleList(parts.stages), "head": parts.head})
        return {name: theirs[id(tensor)] for name, tensor in arranged.state_dict(keep_vars=True).items()}

    def _check_against(self, source: nn.Module) -> None:
        """Raise ``UserError`` unless this computes the same as the model it was made from."""
        image = self._test_image()
        try:
            logits = _evaluate(self, image, self)
        except Exception as error:  # layers raise errors of many types for a feature map that does not fit
            raise UserError(
                f"network {self.name}: stem, stages, neck and head of torchvision's {self.model} do not fit one another"
                f" ({brief(error)}). Between neck and head lies global average pooling, so models that flatten their"
                " feature maps (alexnet, vgg) or are not a chain of modules cannot be used."
            ) from error
        if not image.is_meta and not torch.equal(logits, _evaluate(source, image, source)):
            raise UserError(
                f"network {self.name}: stem, stages, neck and head do not compute what torchvision's {self.model} does:"
                " their order differs, or an operation between them is not a module."
            )

    def _test_image(self) -> Tensor:
        side, generator = 2 * self.stride, torch.Generator().manual_seed(0)
        image = torch.randn(1, self.in_channels, side, side, generator=generator, device="cpu")
        return image.to(next(self.parameters()).device)


class _Parts(NamedTuple):
    stem: nn.Sequential
    stages: list[nn.Sequential]
    head: Head


def _split(
    model: nn.Module, *, name: str, stem: list[str], stages: list[str | list[str]], neck: list[str], head: str
) -> _Parts:
    """Arrange the modules of a model by their names; ``name`` is that of the network, for messages."""

    def chain(paths: str | list[str]) -> nn.Sequential:
        modules = [_module(model, path, name) for path in ([paths] if isinstance(paths, str) else paths)]
        return nn.Sequential(*(child for module in modules for child in _children(module)))

    parts = [chain(stem), *(chain(stage) for stage in stages)]
    *hidden, classifier = _children(_module(model, head, name))
    if not isinstance(classifier, nn.Linear):
        raise UserError(f"network {name}: head={head} of {type(model).__name__} does not end in a linear layer.")
    end = Head(classifier.in_features, classifier.out_features, neck=chain(neck), hidden=nn.Sequential(*hidden))
    end.classifier = classifier
    used = {id(parameter) for part in (*parts, end) for parameter in part.parameters()}
    unused = [key for key, parameter in model.named_parameters() if id(parameter) not in used]
    if unused:
        raise UserError(
            f"network {name}: neither stem, stages, neck nor head has {summarize(unused, 3)} of torchvision's"
            f" {type(model).__name__}."
        )
    return _Parts(parts[0], parts[1:], end)


def _module(model: nn.Module, path: str, name: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        known = [key for key, _ in model.named_modules() if key.count(".") <= path.count(".") and key]
        raise UserError(
            f"network {name}: {type(model).__name__} has no module {path}.{did_you_mean(path, known)}"
            f" It has {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}."
        ) from None


def _children(module: nn.Module) -> list[nn.Module]:
    return list(module) if type(module) is nn.Sequential else [module]


@torch.no_grad()
def _evaluate(function: Callable[[Tensor], Any], image: Tensor, *modules: nn.Module) -> Any:
    """Return ``function(image)`` with the modules in evaluation mode, and restore their modes."""
    modes = [(module, module.training) for top in modules for module in top.modules()]
    try:
        for module, _ in modes:
            module.training = False
        return function(image)
    finally:
        for module, mode in modes:
            module.training = mode


def brief(error: BaseException) -> str:
    """Return the beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


@torch.no_grad()
def make_gray(stem: nn.Sequential) -> None:
    """Make the first convolution take one channel, as if it were three equal ones."""
    convolution = next(module for module in stem.modules() if isinstance(module, nn.Conv2d))
    convolution.in_channels = 1
    convolution.weight = nn.Parameter(convolution.weight.sum(1, keepdim=True))


def normalization_of(model: str, weights: str, channels: int) -> MeanStd:
    """Return the normalization of the images that torchvision's weights of a model were trained on."""
    transform = get_model_weights(model)[weights].transforms()
    return fit_channels(transform.mean, transform.std, channels)


def fit_channels(mean: Sequence[float], std: Sequence[float], channels: int) -> MeanStd:
    """Return a normalization of color images for images of ``channels``: gray ones take the means over the colors."""
    if len(mean) == channels:
        return MeanStd(tuple(mean), tuple(std))
    return MeanStd(*((round(fmean(values), 3),) * channels for values in (mean, std)))


def _fetch_weights(model: str, weights: str) -> dict[str, Tensor]:
    """Return a state dict of a model, by the name of torchvision's pretrained weights."""
    names = get_model_weights(model)
    if weights != "DEFAULT" and weights not in names.__members__:
        raise UserError(
            f"pair.NETWORK.weights={weights}: no such file, and no weights of {model}: {', '.join(names.__members__)}."
        )
    try:
        return dict(names[weights].get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError) as error:
        url = names[weights].url
        raise UserError(
            f"pair.NETWORK.weights={weights}: cannot fetch {url} ({error}). Give its file: pair.NETWORK.weights=FILE."
        ) from error
