"""Load weights of a file into a network, by its own names or by those of the library that it comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mcl.errors import UserError
from mcl.networks.backbone import Backbone, tensor_names
from mcl.untrusted.tensors import load_safetensors, load_state_file
from mcl.untrusted.text import shorten

_WRAPPERS = ("model", "state_dict", "network")  # keys under which training scripts, and our exports, store a state dict
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
_COUNTER = "num_batches_tracked"  # of batch normalization; old files lack it
_NAMED = 3  # tensors or groups that a message names


class Loaded(NamedTuple):
    """A report of the weights that were loaded into a network."""

    text: str  # one line for the user
    new_classifier: bool  # the classifier keeps its initial weights


def read_weights(path: Path, option: str) -> dict[str, Tensor]:
    """Return the state dict in a file: safetensors, or of ``torch.save`` with tensors only.

    Args:
        path: the file.
        option: what the user typed, for messages.

    Raises:
        UserError: it holds something else, or cannot be read.
    """
    try:
        state: Any = load_safetensors(path)[1] if path.suffix == ".safetensors" else load_state_file(path)
    except (UserError, OSError) as error:
        raise UserError(f"{option} is not a file of tensors only: {error}") from error
    for key in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{option} does not hold a state dict.")
    return {_without_prefixes(str(name)): tensor for name, tensor in state.items()}


def load_weights(backbone: Backbone, state: Mapping[str, Tensor], *, source: str, strict: bool = True) -> Loaded:
    """Load a state dict into a network. A classifier of another number of classes stays new.

    Weights of color images are summed over the colors if the network takes gray ones.

    Args:
        backbone: changed in place.
        state: tensors by the network's own names, or by those of the library that it comes from.
        source: where they come from, for messages.
        strict: require every tensor of the network, and none beyond; otherwise load those that are there.

    Raises:
        UserError: the tensors are not of this network; nothing was loaded.
    """
    expected = backbone.state_dict()
    names = _names(backbone, expected, state)
    given = {own: _fit(backbone, own, state[name], expected[own]) for own, name in names.items() if name in state}
    wrong = [own for own, tensor in given.items() if tensor.shape != expected[own].shape]
    classifier = tensor_names(backbone, backbone.classifier)
    other_classes = [own for own in wrong if own in classifier and given[own].shape[1:] == expected[own].shape[1:]]
    wrong = [own for own in wrong if own not in other_classes]
    if wrong:
        there, here = _shape(given[wrong[0]]), _shape(expected[wrong[0]])
        raise UserError(
            f"{source} does not hold the weights of {backbone.name}: {names[wrong[0]]} is {there} there, {here} here."
        )
    if not given:
        raise UserError(
            f"{source} does not hold the weights of {backbone.name}: it has no {next(iter(names.values()))}, but"
            f" {', '.join(map(shorten, [*state][:2]))}, ..."
        )
    missing = [own for own in expected if own not in given and not own.endswith(_COUNTER)]
    used = set(names.values())
    unused = [name for name in state if name not in used]
    if strict and (missing or unused):
        lacks = [f"it lacks {_grouped(missing)}"] if missing else []
        lacks += [f"it also has {_grouped(unused)}"] if unused else []
        raise UserError(
            f"{source} does not hold exactly the weights of {backbone.name}: {'; '.join(lacks)}. Load what fits with"
            " pair.NETWORK.weights_strict=false."
        )
    fitting = {own: tensor for own, tensor in given.items() if own not in other_classes}
    backbone.load_state_dict(fitting, strict=False)
    parts = [f"{len(fitting)} of {len(expected)} tensors of {backbone.name} from {source}"]
    if other_classes:
        classes = len(given[other_classes[0]])
        parts.append(f"the classifier starts new: {classes} classes there, {backbone.num_classes} here")
    if missing:
        parts.append(f"new, because they are not there: {_grouped(missing)}")
    if unused:
        parts.append(f"not used: {_grouped(unused)}")
    return Loaded("; ".join(parts), bool(other_classes) or any(own in classifier for own in missing))


def _names(backbone: Backbone, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the name in a state dict of each tensor of a network: its own, or the library's if more of these occur."""
    own = {name: name for name in expected}
    library = backbone.library_names()
    return library if sum(name in state for name in library.values()) > sum(name in state for name in own) else own


def _fit(backbone: Backbone, name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    """Sum the weights of the first convolution over three colors if the network takes gray images."""
    if backbone.in_channels == 1 and name.startswith("stem.") and tensor.dim() == 4 and _in_color(expected, tensor):
        return tensor.sum(1, keepdim=True, dtype=torch.promote_types(tensor.dtype, torch.float32))
    return tensor


def _in_color(expected: Tensor, tensor: Tensor) -> bool:
    return expected.shape[1] == 1 and tuple(tensor.shape) == (len(expected), 3, *expected.shape[2:])


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "of one number"


def _grouped(names: Sequence[str]) -> str:
    """Name tensors by the first two parts of their names: ``stages.2 (12 tensors), head.classifier (2)``."""
    groups: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        group = ".".join(parts[: max(1, min(2, len(parts) - 1))])
        groups[group] = groups.get(group, 0) + 1
    named = [f"{shorten(group)} ({count} tensor{'s' * (count > 1)})" for group, count in groups.items()]
    return ", ".join(named[:_NAMED]) + (f" and {len(named) - _NAMED} more groups" if len(named) > _NAMED else "")


def _without_prefixes(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name
