"""torchvision's classifiers as backbones: their own modules, arranged as stem, stages and head."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models

from mcl.errors import UserError, did_you_mean
from mcl.networks.backbone import Backbone, Branch, Head

_COLOURS = 3  # channels of the images that torchvision's models take
_WRAPPED = ("model", "state_dict")  # under which training scripts keep a state dict


class TorchvisionBackbone(Backbone):
    """A classifier of torchvision whose stages are named.

    Stem, stages, neck and head are names of its modules (``layer1``, ``features.3``) or lists of such names, run one
    after the other; a Sequential stands for what is in it. Between neck and head lies global average pooling. Together
    they must be the whole model: this is checked when it is built, by its parameters and by what it computes.

    An auxiliary branch takes its stages from another new model of the same kind, and from each of them its first
    blocks, as many as ``branch_depths`` says. Weights start as torchvision starts them.

    Args:
        name: how users call it.
        num_classes: classes C.
        model: what torchvision calls it, e.g. ``resnet50``.
        stem: what comes before the first stage.
        stages: S of them; branches tap what each returns.
        neck: what comes between the last stage and the pooling; branches have their own copy.
        head: what comes after the pooling, ending in a linear layer, whose inputs are the features.
        branch_depths: of the branches after stage 1..S-1, how many blocks they keep of each stage; None for all.
        weights: ``DEFAULT`` or another name of torchvision's pretrained weights, which it downloads once, or a file
            of them; None for new ones. A classifier for other classes than these stays new.
        stride: side of an image over the side of the last feature map.
        in_channels: 3, or 1 for grey images, which are then seen as colour images of three equal channels.
    """

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
        in_channels: int = _COLOURS,
    ):
        if model not in list_models(module=_classifiers()):
            near = did_you_mean(model, list_models(module=_classifiers()), count=3)
            raise UserError(f"network {name}: model={model} is no classifier of torchvision.{near}")
        if in_channels not in (1, _COLOURS):
            raise UserError(f"network {name}: in_channels={in_channels}: 3 (colour) or 1 (grey).")
        depths = branch_depths or [None] * (len(stages) - 1)
        if len(depths) != len(stages) - 1 or any(depth is not None and depth < 1 for depth in depths):
            raise UserError(
                f"network {name}: branch_depths={branch_depths}: one number of blocks (1 or more, or null for all) for"
                f" each of the {len(stages) - 1} branches of {len(stages)} stages."
            )
        self.model, self.weights, self.depths = model, weights, depths
        self._named = _Named(stem, stages, neck or [], head)
        whole = get_model(model, weights=None, num_classes=num_classes)
        parts = self._named.parts(whole, name)
        super().__init__(
            name=name, stem=parts.stem, stages=parts.stages, head=parts.head, in_channels=_COLOURS, stride=stride
        )
        self._check_against(whole)
        self.in_channels = in_channels
        if in_channels == 1:
            _see_grey(parts.stem)

    def branch(self, k: int) -> Branch:
        """The stages after stage k (from 1) and the head of a new model, cut to ``branch_depths``."""
        whole = get_model(self.model, weights=None, num_classes=self.num_classes)
        parts, depth = self._named.parts(whole, self.name), self.depths[k - 1]
        branch = Branch((stage[:depth] for stage in parts.stages[k:]), parts.head)
        try:
            _compute(lambda image: branch(self.feature_maps(image)[k - 1]), self._image(), self, branch)
        except RuntimeError as error:
            raise UserError(
                f"network {self.name}: branch_depths={self.depths}: blocks {depth} of each stage after stage {k} do not"
                f" fit one another ({_brief(error)}). Use null for all blocks."
            ) from error
        return branch

    def load_pretrained(self) -> None:
        """Take over the weights that ``weights`` names, if it names some.

        Raises:
            UserError: they cannot be had, or are of another model.
        """
        if self.weights is None:
            return
        state = _read_weights(self.model, self.weights)
        whole = get_model(self.model, weights=None)
        (classifier,) = [key for key, module in whole.named_modules() if module is _last_linear(whole)]
        try:
            whole = get_model(self.model, weights=None, num_classes=len(state[f"{classifier}.weight"]))
            whole.load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"{self.name}: weights={self.weights} are not of torchvision's {self.model}: {_brief(error)}"
            ) from error
        parts = self._named.parts(whole, self.name)
        if self.in_channels == 1:
            _see_grey(parts.stem)
        if parts.head.classifier.out_features != self.num_classes:
            parts.head.classifier = self.head.classifier
        self.stem.load_state_dict(parts.stem.state_dict())
        self.stages.load_state_dict(nn.ModuleList(parts.stages).state_dict())
        self.head.load_state_dict(parts.head.state_dict())

    def _check_against(self, whole: nn.Module) -> None:
        """Raise UserError unless this computes what the whole model does."""
        image = self._image()
        try:
            logits = _compute(self, image, self)
        except Exception as error:  # whatever layers say of a feature map that does not fit
            raise UserError(
                f"network {self.name}: stem, stages, neck and head of torchvision's {self.model} do not fit one another"
                f" ({_brief(error)}). Between neck and head lies global average pooling: a model that flattens its"
                " feature maps instead (alexnet, vgg) or is no chain of feature maps cannot be named so."
            ) from error
        if image.is_meta:
            return
        if not torch.equal(logits, _compute(whole, image, whole)):
            raise UserError(
                f"network {self.name}: stem, stages, neck and head one after the other do not compute what"
                f" torchvision's {self.model} does; something between them is no module of its own, or their order is"
                " another."
            )

    def _image(self) -> Tensor:
        """A small one, to try things out."""
        side, generator = 2 * self.stride, torch.Generator().manual_seed(0)
        image = torch.randn(1, self.in_channels, side, side, generator=generator, device="cpu")
        return image.to(next(self.parameters()).device)


class _Parts(NamedTuple):
    stem: nn.Sequential
    stages: list[nn.Sequential]
    head: Head


class _Named(NamedTuple):
    """Which modules of a model are what."""

    stem: Sequence[str]
    stages: Sequence[str | Sequence[str]]
    neck: Sequence[str]
    head: str

    def parts(self, model: nn.Module, name: str) -> _Parts:
        """The modules themselves."""

        def chain(names: str | Sequence[str]) -> nn.Sequential:
            modules = [_module(model, path, name) for path in ([names] if isinstance(names, str) else names)]
            return nn.Sequential(*(part for module in modules for part in _unpacked(module)))

        stem, stages, neck = chain(self.stem), [chain(stage) for stage in self.stages], chain(self.neck)
        *hidden, classifier = _unpacked(_module(model, self.head, name))
        if not isinstance(classifier, nn.Linear):
            raise UserError(f"network {name}: head={self.head} of {type(model).__name__} ends in no linear layer.")
        head = Head(classifier.in_features, classifier.out_features, neck=neck, hidden=nn.Sequential(*hidden))
        head.classifier = classifier
        used = {id(parameter) for part in (stem, *stages, head) for parameter in part.parameters()}
        left = [key for key, parameter in model.named_parameters() if id(parameter) not in used]
        if left:
            raise UserError(
                f"network {name}: neither stem, stages, neck nor head has {', '.join(left[:3])}"
                f"{f' and {len(left) - 3} more' if len(left) > 3 else ''} of torchvision's {type(model).__name__}."
            )
        return _Parts(stem, stages, head)


def _module(model: nn.Module, path: str, name: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        known = [key for key, _ in model.named_modules() if key.count(".") <= path.count(".") and key]
        raise UserError(
            f"network {name}: {type(model).__name__} has no module {path}.{did_you_mean(path, known)}"
            f" It has {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}."
        ) from None


@torch.no_grad()
def _compute(function: Callable[[Tensor], Any], image: Tensor, *modules: nn.Module) -> Any:
    """``function(image)`` with these modules in evaluation mode, which they then leave."""
    modes = [(module, module.training) for top in modules for module in top.modules()]
    try:
        for module, _ in modes:
            module.training = False
        return function(image)
    finally:
        for module, mode in modes:
            module.training = mode


def _brief(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:200]


def _unpacked(module: nn.Module) -> list[nn.Module]:
    return list(module) if type(module) is nn.Sequential else [module]


def _last_linear(model: nn.Module) -> nn.Module:
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


@torch.no_grad()
def _see_grey(stem: nn.Sequential) -> None:
    """Have the first convolution take one channel, which it sees as three equal ones."""
    convolution = next(module for module in stem.modules() if isinstance(module, nn.Conv2d))
    convolution.in_channels = 1
    convolution.weight = nn.Parameter(convolution.weight.sum(1, keepdim=True))


def _read_weights(model: str, weights: str) -> dict[str, Tensor]:
    """A state dict of torchvision's, by the name of pretrained weights or from a file."""
    names = get_model_weights(model)
    if weights == "DEFAULT" or weights in names.__members__:
        try:
            return dict(names[weights].get_state_dict(progress=True, check_hash=True))
        except (URLError, OSError) as error:
            url = names[weights].url
            raise UserError(
                f"weights={weights}: {url} cannot be had ({error}). Give a file of it: weights=FILE."
            ) from error
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError(f"weights={weights}: no such file, and no weights of {model}: {', '.join(names.__members__)}.")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler came across
        raise UserError(f"weights={weights} is no file of tensors alone ({type(error).__name__}).") from error
    for key in _WRAPPED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"weights={weights} holds no state dict.")
    return state


def _classifiers() -> Any:
    from torchvision import models

    return models
