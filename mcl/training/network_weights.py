"""``pair.KEY.weights=``: initial weights of one network, from a file or from a network of a run."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from mcl.data.dataset import Dataset
from mcl.errors import UserError, unknown
from mcl.networks.backbone import Backbone, tensor_names
from mcl.networks.cohort import Cohort
from mcl.networks.weights import load_weights, read_weights
from mcl.runs import checkpoints
from mcl.runs.checkpoint_files import read_checksum
from mcl.runs.layout import deployed_prefix
from mcl.runs.pair import STRICT, WEIGHTS, option_of_networks
from mcl.runs.same_run import check_same_run
from mcl.runs.stored_config import read_config
from mcl.runs.weights_places import WeightsPlace, checksum_of_place, places_of
from mcl.training.agreement import check_source
from mcl.untrusted.tensors import load_safetensors

_BACKBONE = "backbone."


class NetworkWeights(NamedTuple):
    """Where the weights of a network come from."""

    place: WeightsPlace
    typed: str  # the place as the user typed it
    strict: bool = True  # as in `mcl.networks.weights.load_weights`
    checksum: str | None = None  # the checksum that they must have; None for any


def weights_of(pair: Mapping[Any, Any], checksums: Mapping[str, str] | None = None) -> dict[str, NetworkWeights]:
    """Return the weights that the networks of a pair name, by key, without pretrained weights by name.

    Args:
        pair: the group of the configuration.
        checksums: ``weights_checksums`` of the configuration.

    Raises:
        UserError: pretrained weights by name are to be loaded in part.
    """
    places = places_of(pair)
    for key, name in option_of_networks(pair, WEIGHTS).items():
        if name and key not in places and not pair[key].get(STRICT, True):
            raise UserError(
                f"pair.{key}.{STRICT}=false: loads a part of the weights of a file or a run, and pair.{key}.{WEIGHTS}="
                f"{name} is a name of weights, which are loaded as a whole. Leave out one of the two."
            )
    return {
        key: NetworkWeights(
            place, str(pair[key][WEIGHTS]), bool(pair[key].get(STRICT, True)), (checksums or {}).get(key)
        )
        for key, place in places.items()
    }


def load_network_weights(cohort: Cohort, key: str, weights: NetworkWeights, dataset: Dataset | None = None) -> str:
    """Load the weights of one backbone; its auxiliary branches start new. Return a line on what was loaded.

    Raises:
        UserError: there are no such weights, they do not fit, or have another checksum; or a classifier of another
            number of classes would start new in a frozen network, and never learn; or a frozen network was trained on
            other images than those of ``dataset``, see `mcl.training.agreement.check_source`.
    """
    network = cohort[key]
    backbone, option = network.backbone, f"pair.{key}.{WEIGHTS}={weights.typed}"
    checksum = checksum_of_place(weights.place)
    if None not in (weights.checksum, checksum) and checksum != weights.checksum:
        raise UserError(
            f"{option}: its weights are {checksum}, not weights_checksums.{key}={weights.checksum}. Omit"
            " weights_checksums to start a run from the current ones."
        )
    state, content = _read(backbone, key, weights.place, option)
    notes = check_source(content, dataset, option, frozen=network.frozen)
    loaded = load_weights(backbone, state, source=option, strict=weights.strict)
    if network.frozen and loaded.new_classifier:
        raise frozen_at_random(key, option)
    new = "; its auxiliary branches start new" if len(network.branches) else ""
    return " ".join([f"{loaded.text}{new}.", *notes])


def frozen_at_random(key: str, option: str) -> UserError:
    """Make the error for a frozen network whose classifier does not come from its weights."""
    return UserError(
        f"{option}: it has no classifier of as many classes as the dataset, so that of the frozen network would be"
        f" random and never learn. Train it: pair.{key}.frozen=false, with pair.{key}.freeze=NUMBER to keep its stages."
    )


def _read(
    backbone: Backbone, key: str, place: WeightsPlace, option: str
) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Return the state dict at a place, by the network's own names or a library's, and what the file says about it."""
    file = place.file
    content: Mapping[str, Any] = {}
    if not file.is_file():
        raise UserError(f"{option}: there is no file {file}; give a file of weights, or a run as RUN:first:best.")
    if file.suffix != ".safetensors" and read_checksum(file) is not None:
        content = checkpoints.load(file)
        if "learner" in content:
            if (config := read_config(place.path)) is not None:
                check_same_run(content, option, config=config)
            return _choose(backbone, key, place, _networks(content, place, option), option), content
    if place.key is not None or place.epoch != "last":
        raise UserError(f"{option}: {file} holds one network, not a run. Name the file alone.")
    state = read_weights(file, option)
    return state, load_safetensors(file)[0] if file.suffix == ".safetensors" else content


def _networks(content: Mapping[str, Any], place: WeightsPlace, option: str) -> dict[str, dict[str, Tensor]]:
    """Return the backbones of a run's checkpoint, by the keys of the networks."""
    if place.epoch == "best":
        best: dict[str, dict[str, Tensor]] = content.get("best") or {}
        if not best:
            raise UserError(f"{option}: the run was never evaluated, so it has no best weights. Leave out :best.")
        return best
    return {
        key: {name.removeprefix(_BACKBONE): tensor for name, tensor in weights.items() if name.startswith(_BACKBONE)}
        for key, weights in split_networks(content["learner"]).items()
    }


def split_networks(learner: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the weights of each network of a checkpoint, by key, named as in `mcl.networks.branches.Network`."""
    networks: dict[str, dict[str, Tensor]] = {}
    prefix = f"{deployed_prefix(learner)}networks."
    for name, tensor in learner.items():
        if name.startswith(prefix):
            key, _, rest = name.removeprefix(prefix).partition(".")
            networks.setdefault(key, {})[rest] = tensor
    return networks


def _choose(
    backbone: Backbone, key: str, place: WeightsPlace, networks: dict[str, dict[str, Tensor]], option: str
) -> dict[str, Tensor]:
    """Return the network that the place names; else the only one, or the one that fits, or of these that of the key."""
    if place.key is not None:
        if place.key not in networks:
            raise unknown("network", f"{option}: {place.key}", networks)
        return networks[place.key]
    new = tensor_names(backbone, backbone.classifier)
    shapes = {name: tensor.shape for name, tensor in backbone.state_dict().items() if name not in new}
    fitting = [
        name
        for name, state in networks.items()
        if all(each in state and state[each].shape == shape for each, shape in shapes.items())
    ]
    chosen = key if key in fitting else next(iter(fitting or networks))
    if len(fitting) > 1 and chosen != key:
        raise UserError(
            f"{option}: its networks {' and '.join(fitting)} would all fit. Name one: {place.path}:{chosen}."
        )
    return networks[chosen]
