"""Pass two images through networks and losses before training, to name what does not fit."""

import copy
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mcl.config.targets import PACKAGES, inside
from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.networks.backbone import Backbone
from mcl.networks.branch_names import COPY
from mcl.networks.branches import Network
from mcl.networks.cohort import Cohort
from mcl.networks.counting import outline
from mcl.types import Batch, Outputs

IMAGES = 2
PER_CLASS = 2  # images of each class that a loss is prepared for


def uses_own_modules(*nodes: Any) -> bool:
    """Return whether a part of a configuration names a class outside this project, torch and torchvision."""
    return any(not inside(target, PACKAGES) for node in nodes for target in _targets(node))


def check_own_parts(cohort: Cohort, loss: Loss, channels: int, image_size: int) -> None:
    """Run networks and loss on two random images on the CPU. Weights, buffers and random state do not change.

    Args:
        cohort: the networks, of which copies are used.
        loss: with its heads; likewise.
        channels: channels of the images.
        image_size: their side in pixels.

    Raises:
        UserError: a stage, a head or a term does not have the shape that training needs.
    """
    images = torch.randn(IMAGES, channels, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        outputs = []
        for key, network in cohort.items():
            network = copy.deepcopy(network)
            if not _is_ours(network.backbone):
                _check_backbone(f"pair.{key}", network.backbone, images)
            outputs.append(_run_network(f"pair.{key}", network, images))
        if not _is_ours(loss):
            _check_loss(copy.deepcopy(loss), outputs, images, cohort.backbones[0].num_classes)


def check_maps(cohort: Cohort, loss: Loss, channels: int, image_size: int) -> None:
    """Compute the shapes of what a loss makes of the networks' feature maps.

    Args:
        cohort: the networks, of which outlines are used.
        loss: that needs feature maps; likewise.
        channels: channels of the images.
        image_size: their side in pixels.

    Raises:
        UserError: the loss cannot use feature maps of these sizes.
    """
    images = torch.empty(IMAGES, channels, image_size, image_size, device="meta")
    with torch.no_grad():
        outline(loss).ensemble(outline(cohort)(images))


def _is_ours(part: object) -> bool:
    return inside(type(part).__module__, PACKAGES)


def _check_backbone(place: str, backbone: Backbone, images: Tensor) -> None:
    """Run stem, stages and head one after the other."""
    name = type(backbone).__name__
    before, x = "the images", images
    parts = [("stem", backbone.stem), *((f"stage {k}", stage) for k, stage in enumerate(backbone.stages, 1))]
    for part, module in parts:
        try:
            maps = module(x)
        except Exception as error:
            raise UserError(
                f"{place}: {part} of {name} cannot take what {before} gives, {_shape(x)}: {_reason(error)}."
            ) from error
        if not isinstance(maps, Tensor) or maps.dim() != 4 or len(maps) != IMAGES:
            raise UserError(
                f"{place}: {part} of {name} returns {_shape(maps)} for {IMAGES} images, not feature maps of shape"
                f" ({IMAGES}, channels, height, width)."
            )
        before, x = part, maps
    try:
        returned = backbone.head(x)
    except Exception as error:
        raise UserError(
            f"{place}: the head of {name} cannot take what {before} gives, {_shape(x)}: {_reason(error)}."
        ) from error
    expected = ((IMAGES, backbone.width), (IMAGES, backbone.num_classes))
    shapes = tuple(tuple(part.shape) for part in returned if isinstance(part, Tensor)) if _is_pair(returned) else None
    if shapes != expected:
        raise UserError(
            f"{place}: the head of {name} returns {_shape(returned)}, not features {expected[0]} and logits"
            f" {expected[1]}."
        )


def _run_network(place: str, network: Network, images: Tensor) -> Outputs:
    """Return the outputs of a network for images, after a try of its backward pass, whose graph is kept."""
    try:
        outputs: Outputs = network(images)
    except Exception as error:
        raise UserError(
            f"{place}: the branches of {type(network.backbone).__name__} ({place}.branches={network.branch_kind}) fail:"
            f" {_reason(error)}.{' Override stages_after or branch (docs/extend.md).' * (network.branch_kind == COPY)}"
        ) from error
    logits = torch.stack([each.sum() for each in outputs.logits])
    try:
        if logits.requires_grad:
            logits.sum().backward(retain_graph=True)
    except RuntimeError as error:
        raise UserError(
            f"{place}: the backward pass of {type(network.backbone).__name__} fails: {_reason(error)}. No stage may"
            " change its input in place, as nn.ReLU(inplace=True) does: a branch reads the same feature maps."
        ) from error
    return outputs


def _check_loss(loss: Loss, outputs: list[Outputs], images: Tensor, num_classes: int) -> None:
    name = type(loss).__name__
    labels = torch.arange(num_classes).repeat(PER_CLASS)
    batch = Batch(images, labels[:IMAGES], torch.arange(IMAGES))
    try:
        loss.prepare(labels)
        terms = loss(outputs, batch, **({"teachers": outputs} if loss.needs_ema else {}))
    except Exception as error:
        stages = ", ".join(f"{len(each.logits)} of {_shape(each.logits[-1])}" for each in outputs)
        raise UserError(
            f"loss: {name} fails on {IMAGES} images: {_reason(error)}. The logits of the networks' stages: {stages}."
        ) from error
    if not isinstance(terms, Mapping):
        raise UserError(f"loss: {name} returns {_shape(terms)}, not a dict of named terms, such as {loss.terms}.")
    for term, value in terms.items():
        if term not in loss.terms:
            raise UserError(
                f"loss: {name} returns a term {term!r} that it does not declare: add it to its terms ="
                f" {tuple(loss.terms)!r}."
            )
        if not isinstance(value, Tensor) or value.dim() > 0:
            raise UserError(
                f"loss: term {term!r} of {name} is {_shape(value)}, not a tensor of shape (), one number for the batch:"
                f" {'average it with .mean()' if isinstance(value, Tensor) else 'keep it a tensor'}."
            )
    if not terms:
        raise UserError(f"loss: {name} returns no term: nothing can be learned from it.")
    aggregated = loss.aggregate(outputs)
    if aggregated is not None and len(aggregated) != len(outputs):
        raise UserError(
            f"loss: aggregate() of {name} returns {len(aggregated)} logits for {len(outputs)} networks: one for each."
        )
    if not loss.total(terms).requires_grad:
        raise UserError(f"loss: the terms of {name} do not depend on the networks: nothing can be learned from them.")


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for child in node.values():
            yield from _targets(child)


def _is_pair(returned: Any) -> bool:
    return isinstance(returned, tuple | list) and len(returned) == 2


def _shape(value: Any) -> str:
    """Return what a value is: ``a tensor of shape (2, 8)``, ``a float``, ``2 values``."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"({', '.join(_shape(each) for each in value)})"
    return "None" if value is None else f"a {type(value).__name__}"


def _reason(error: Exception) -> str:
    """Return an error with the line of the user's file that raised it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    frames = [frame for frame in frames if Path(frame.filename) != Path(__file__)]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}{place}"
