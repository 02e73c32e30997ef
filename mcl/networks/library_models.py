"""Build models of timm and torchvision by name, and fetch weights for them."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.networks.backbone import MeanStd
from mcl.networks.library_names import check_name
from mcl.networks.torchvision import COLORS, brief, fit_channels, make_gray, normalization_of

_SIDES = (64, 224, 256, 299)  # of images to look at a model with, the first that it takes
SIDE_OPTION = {"timm": "img_size", "torchvision": "image_size"}  # of models that take one size of images alone
# Options that the network sets itself, or that would read files or fetch something.
_NOT_OPTIONS = (
    *("num_classes", "in_chans", "features_only", "out_indices", "weights", "pretrained", "pretrained_cfg"),
    *("pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "scriptable", "exportable", "no_jit", "model_name"),
    *("name", "progress", "weights_backbone", "aux_logits"),
)
_WITH_AUXILIARY_OUTPUTS = ("googlenet", "inception_v3")  # of torchvision


def create_model(
    library: str, model: str, *, num_classes: int, in_channels: int, options: Mapping[str, Any]
) -> nn.Module:
    """Build a newly initialized classifier of a library.

    Args:
        library: ``timm`` or ``torchvision``.
        model: its name there.
        num_classes: classes C.
        in_channels: channels of the images; torchvision's models take 3, or 1 as three equal ones.
        options: further arguments of the library's own function.

    Raises:
        UserError: there is no such model, or it does not take these options.
    """
    check_name(library, model)
    name = f"network {library}/{model}"
    for option in options:
        if option in _NOT_OPTIONS:
            raise UserError(f"{name}: options.{option} cannot be set: the network sets it itself, or it reads files.")
    try:
        if library == "timm":
            import timm

            created: nn.Module = timm.create_model(model, num_classes=num_classes, in_chans=in_channels, **options)
            return created
        from torchvision.models import get_model

        if model in _WITH_AUXILIARY_OUTPUTS:
            options = {"aux_logits": False, "init_weights": True, **options}
        created = get_model(model, weights=None, num_classes=num_classes, **options)
    except Exception as error:  # constructors fail in many ways
        given = f" with options={dict(options)}" if options else ""
        raise UserError(f"{name}: {library} cannot build it{given}: {brief(error)}") from error
    if in_channels == 1:
        make_gray(nn.Sequential(created))
    elif in_channels != COLORS:
        raise UserError(f"{name}: in_channels={in_channels}: must be 3 (color) or 1 (gray).")
    return created


def opaque_functions(library: str) -> list[Callable[..., Any]]:
    """Return the functions that a library marks as not to be followed by `torch.fx`."""
    if library != "timm":
        return []
    from timm.layers import get_notrace_functions

    return list(get_notrace_functions())


def test_images(model: nn.Module, in_channels: int, options: Mapping[str, Any]) -> Tensor:
    """Return one random image (1, in_channels, side, side) of a size that a model takes, on its device.

    Raises:
        RuntimeError: it takes none of the usual sizes.
    """
    given = next((options[name] for name in SIDE_OPTION.values() if name in options), None)
    size = given or getattr(model, "pretrained_cfg", {}).get("input_size", 0)
    size = size[-1] if isinstance(size, list | tuple) else size
    device = next(model.parameters()).device
    problem: Exception | None = None
    for side in [size] if given else [_SIDES[0], *([size] if size else []), *_SIDES[1:]]:
        drawn = torch.randn(1, in_channels, side, side, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
        images = drawn.to(device)
        try:
            with torch.no_grad():
                model(images)
        except Exception as error:  # layers raise errors of many types for a size that does not fit
            problem = problem or error
            continue
        return images
    raise RuntimeError(str(problem))


def pretrained_state(library: str, model: str, weights: str, **arguments: Any) -> dict[str, Tensor]:
    """Return pretrained weights under the library's own names.

    Args:
        library, model: as in `create_model`.
        weights: the library's name of weights, which it downloads once; ``DEFAULT`` for the library's default.
        arguments: of `create_model`.

    Raises:
        UserError: there are no such weights, or they cannot be fetched.
    """
    name = f"network {library}/{model}: weights={weights}"
    try:
        if library == "timm":
            import timm

            name_there, options = _tagged(model, weights), arguments["options"]
            with _without_retries():
                fetched = timm.create_model(name_there, pretrained=True, in_chans=arguments["in_channels"], **options)
        else:
            from torchvision.models import get_model

            fetched = get_model(model, weights=weights)
            if model in _WITH_AUXILIARY_OUTPUTS:
                fetched.AuxLogits = None  # of inception_v3; the networks here have no auxiliary outputs
            if arguments["in_channels"] == 1:
                make_gray(nn.Sequential(fetched))
    except Exception as error:  # no such weights, no connection, no space
        raise UserError(
            f"{name}: {library} cannot give these weights: {brief(error)}. Name its weights (a tag of"
            f" timm.list_pretrained('{model}'), or DEFAULT), a file or a run."
        ) from error
    return dict(fetched.state_dict())


def pretrained_normalization(library: str, model: str, weights: str, channels: int) -> MeanStd | None:
    """Return the normalization that pretrained weights of a library were trained with, for images of ``channels``."""
    if library == "torchvision":
        return normalization_of(model, weights, channels)
    import timm

    trained = timm.get_pretrained_cfg(_tagged(model, weights))
    return None if trained is None else fit_channels(trained.mean, trained.std, channels)


def _tagged(model: str, weights: str) -> str:
    """Return timm's name of a model with its weights."""
    return model if weights == "DEFAULT" else f"{model}.{weights}"


@contextmanager
def _without_retries() -> Iterator[None]:
    """Hide the lines on each failed try to fetch something within the block; the last failure is an error."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
