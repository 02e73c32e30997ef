"""Initial weights of a new run: pretrained files, another run, an imported checkpoint, an exported file."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from mcl.console import summarize
from mcl.data.dataset import Dataset
from mcl.errors import UserError
from mcl.networks.backbone import tensor_names
from mcl.networks.branches import Network
from mcl.networks.cohort import Cohort
from mcl.runs import checkpoints
from mcl.runs.checkpoint_files import checkpoint_of, read_checksum
from mcl.runs.layout import deployed_prefix
from mcl.runs.pair import SHARED_STAGES, WEIGHTS
from mcl.runs.same_run import check_same_run
from mcl.runs.stored_config import read_config
from mcl.training.agreement import check_normalization, check_source
from mcl.training.network_weights import NetworkWeights, frozen_at_random, load_network_weights, split_networks
from mcl.untrusted.tensors import load_safetensors

_EXPORTED = "network"  # key of the weights in a file that python -m mcl export wrote
Places = str | Mapping[str, str]


def load_initial_weights(
    cohort: Cohort,
    init_from: Places | None,
    init_weights: Any = None,
    weights: Mapping[str, NetworkWeights] = MappingProxyType({}),
    dataset: Dataset | None = None,
) -> list[str]:
    """Load the weights that new networks start from; without any, they keep their random ones.

    Classifiers of another number of classes start new.

    Args:
        cohort: the networks, each of which may name pretrained weights of its own.
        init_from: a run folder or a checkpoint with weights for all of them; or a place for each network, which may
            be an exported file too. Networks without a place load their pretrained weights, if they name some.
        init_weights: checksum that this checkpoint must have, or one for each; None for any.
        weights: files and runs that ``pair.KEY.weights`` names, by network.
        dataset: the images, whose classes and normalization frozen networks must have learned; None for any.

    Returns:
        Lines for the user: what was loaded, what starts new, and whether the images are normalized otherwise.

    Raises:
        UserError: the weights are missing, do not fit, or have another checksum.
    """
    if isinstance(init_from, str):
        _check_checksum(init_from, init_weights)
        return start_from(Path(init_from), cohort, dataset)
    places = {key: place for key, place in (init_from or {}).items() if place is not None}
    notes: list[str] = []
    loaded: dict[str, dict[str, Tensor]] = {}  # copies
    for key, network in cohort.items():
        if key in places:
            _check_checksum(places[key], (init_weights or {}).get(key))
            notes += start_network_from(Path(places[key]), cohort, key, dataset)
        elif key in weights:
            notes.append(load_network_weights(cohort, key, weights[key], dataset))
        elif (pretrained := _load_pretrained(network, key, dataset)) is not None:
            notes += pretrained
        else:
            continue
        loaded[key] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    _check_shared(cohort, loaded)
    return notes


def _load_pretrained(network: Network, key: str, dataset: Dataset | None) -> list[str] | None:
    """Load the pretrained weights that a network names; return lines for the user, or None if it names none."""
    backbone, option = network.backbone, f"pair.{key}.{WEIGHTS}"
    initial = [parameter.clone() for parameter in backbone.classifier.parameters()] if network.frozen else []
    text = backbone.load_pretrained()
    if text is None:
        return None
    trained = backbone.pretrained_normalization()
    notes = []
    if dataset is not None and trained is not None:
        notes = check_normalization(*trained, dataset, option, frozen=network.frozen)
    if initial and all(map(torch.equal, initial, backbone.classifier.parameters())):
        raise frozen_at_random(key, option)
    return [f"{key}: {text}.", *notes]


def start_from(place: Path, cohort: Cohort, dataset: Dataset | None = None) -> list[str]:
    """Initialize networks from a checkpoint; its other weights are ignored.

    A branched checkpoint can initialize unbranched networks, but not vice versa. The heads of the loss, its matching
    network and the optimizers start afresh, and so do classifiers of another number of classes.

    Args:
        place: a checkpoint, or a run folder, which stands for its last checkpoint.
        cohort: the networks, identified by their keys in the pair.
        dataset: as in `load_initial_weights`.

    Returns:
        Lines for the user: the classifiers that start new, and whether the images are normalized otherwise.

    Raises:
        UserError: there is no checkpoint, or one of its tensors is missing or has another shape, or a frozen network
            was trained on other images.
    """
    option = f"init_from={place}"
    checkpoint = _read_checkpoint(place, option)
    learner: Mapping[str, Tensor] = checkpoint["learner"]
    prefix = deployed_prefix(learner)
    weights = cohort.state_dict()
    missing = [key for key in weights if prefix + key not in learner]
    if missing:
        wanted = "pair= and the loss="
        if all(".branches." in key for key in missing):
            wanted += ", and pair.NETWORK.branches= if it had it,"
        raise UserError(
            f"{option}: its networks have no {summarize(missing, 3)}. Choose the {wanted} of that checkpoint."
        )
    classifiers = tensor_names(cohort, *(layer for network in cohort for layer in network.classifiers()))
    new = [key for key in classifiers if _has_other_classes(learner[prefix + key], weights[key])]
    for key, tensor in weights.items():
        shape = learner[prefix + key].shape
        if shape != tensor.shape and key not in new:
            raise UserError(
                f"{option}: {key} has shape {tuple(shape)} there and {tuple(tensor.shape)} here."
                " Choose the dataset= (its classes) and the pair= that it was trained with."
            )
    if new and (frozen := [key for key, network in cohort.items() if network.frozen]):
        raise frozen_at_random(frozen[0], option)
    notes = check_source(checkpoint, dataset, option, frozen=any(network.frozen for network in cohort))
    kept = {prefix + key: learner[prefix + key] for key in weights if key not in new}
    cohort.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in kept.items()}, strict=not new)
    _check_shared(cohort, split_networks(kept))
    return [*_new_classifiers(option, learner, weights, new, prefix), *notes]


def start_network_from(place: Path, cohort: Cohort, key: str, dataset: Dataset | None = None) -> list[str]:
    """Initialize one network from a run of any pair, or from an exported file.

    Of a run, the network whose weights fit is taken; if several fit, the one with the same key.

    Args:
        place: a run folder, a checkpoint, or a file of ``python -m mcl export`` (torch or safetensors).
        cohort: the networks.
        key: the network to initialize. With auxiliary branches, the run must have them too.
        dataset: as in `load_initial_weights`.

    Returns:
        Lines for the user, as in `start_from`.

    Raises:
        UserError: there are no such weights, or the network is frozen and was trained on other images.
    """
    option = f"init_from={{{key}: {place}}}"
    network = cohort[key]
    expected = network.state_dict()
    candidates, content = _read_networks(place, option)
    classifiers = tensor_names(network, *network.classifiers())
    fitting = {name: weights for name, weights in candidates.items() if _fits(expected, weights, classifiers)}
    name = key if key in fitting else next(iter(fitting), None)
    if name is None:
        raise UserError(
            f"{option}: {_describe(candidates)} does not fit {network.backbone.name}: its layers"
            f" differ{', or it has no auxiliary branches of this kind' if len(network.branches) else ''}."
        )
    if len(fitting) > 1 and name != key:
        raise UserError(
            f"{option}: {_describe(fitting)} would all fit. Write the wanted one to a file (python -m mcl export"
            f" {place} --format torch --network {name}) and name that file."
        )
    weights = fitting[name]
    new = [each for each in classifiers if _has_other_classes(weights[each], expected[each])]
    if new and network.frozen:
        raise frozen_at_random(key, option)
    notes = check_source(content, dataset, option, frozen=network.frozen)
    network.load_state_dict({each: weights[each] for each in expected if each not in new}, strict=not new)
    return [*_new_classifiers(option, weights, expected, new), *notes]


def _check_shared(cohort: Cohort, loaded: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raise UserError if a network's shared stages have the weights of another one, which were loaded after its own.

    Args:
        cohort: the networks.
        loaded: per key of a network, the weights that were loaded into it.
    """
    for key, network in cohort.items():
        own = loaded.get(key, {})
        if any(name in own and not torch.equal(now, own[name].to(now)) for name, now in network.state_dict().items()):
            raise UserError(
                f"pair.{SHARED_STAGES}: the weights that {' and '.join(loaded)} start from differ in the stages that"
                f" they share. Give weights to one of them alone, or use pair.{SHARED_STAGES}=0."
            )


def _check_checksum(place: str, expected: str | None) -> None:
    checksum = read_checksum(checkpoint_of(Path(place)))
    if None not in (expected, checksum) and checksum != expected:
        raise UserError(
            f"init_from={place}: its weights are {checksum}, not init_weights={expected}. Omit init_weights to start a"
            " run from the current ones."
        )


def _read_checkpoint(place: Path, option: str) -> Mapping[str, Any]:
    checkpoint = checkpoints.load(_existing(place, option))
    if (config := read_config(place)) is not None:
        check_same_run(checkpoint, option, config=config)
    return checkpoint


def _read_networks(place: Path, option: str) -> tuple[dict[str, dict[str, Tensor]], Mapping[str, Any]]:
    """Return the weights of each network at a place, by key, and what the file says about them.

    Tensors are named as in a `mcl.networks.branches.Network`.
    """
    path = _existing(place, option)
    content: Mapping[str, Any]
    if path.suffix == ".safetensors":
        content, exported = load_safetensors(path)
    else:
        content = checkpoints.load(path)
        if _EXPORTED not in content:
            content = _read_checkpoint(place, option)
            return split_networks(content["learner"]), content
        exported = content[_EXPORTED]
    return {"": {f"backbone.{name}": tensor for name, tensor in exported.items()}}, content


def _existing(place: Path, option: str) -> Path:
    path = checkpoint_of(place)
    if not path.is_file():
        raise UserError(f"{option}: there is no file {path}; give a run folder or a checkpoint.")
    return path


def _fits(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], classifiers: Collection[str]) -> bool:
    return all(
        name in weights
        and (weights[name].shape == tensor.shape or (name in classifiers and _has_other_classes(weights[name], tensor)))
        for name, tensor in expected.items()
    )


def _has_other_classes(there: Tensor, here: Tensor) -> bool:
    """Return whether a tensor of a classifier has another number of classes, and nothing else is different."""
    return len(there) != len(here) and there.shape[1:] == here.shape[1:]


def _new_classifiers(
    option: str, there: Mapping[str, Tensor], here: Mapping[str, Tensor], new: Sequence[str], prefix: str = ""
) -> list[str]:
    """Return a line if the classifiers ``new`` keep their initial weights; ``prefix`` begins their names there."""
    if not new:
        return []
    classes = len(there[prefix + new[0]])
    return [f"{option}: classifiers start new: {classes} classes there, {len(here[new[0]])} here."]


def _describe(names: Collection[str]) -> str:
    return " and ".join(f"its network {name}" if name else "the network in this file" for name in names) or "it"
