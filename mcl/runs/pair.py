"""The group ``pair`` of a configuration: its networks by key, and the options beside them."""

from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import OmegaConf

SHARED_STAGES, LEADER = "shared_stages", "leader"  # options of the whole pair
PAIR_OPTIONS = (SHARED_STAGES, LEADER)
FROZEN = "frozen"  # options of each network, beside those of its constructor
FREEZE, DEPLOYED, WEIGHTS, STRICT, BRANCHES = "freeze", "deployed", "weights", "weights_strict", "branches"
NETWORK_OPTIONS = (FROZEN, FREEZE, DEPLOYED, WEIGHTS, STRICT, BRANCHES)
DROP_PATH = "drop_path"  # of the constructors of residual networks, whose files do not list it
TYPED_OPTIONS = (*NETWORK_OPTIONS, DROP_PATH)  # of any network, in no file
_NOT_BUILT = (FROZEN, FREEZE, DEPLOYED, STRICT, BRANCHES)  # some constructors take weights


def networks_of(pair: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the nodes of the networks by key, without the options of the pair."""
    return {str(key): node for key, node in pair.items() if key not in PAIR_OPTIONS}


def network_node(node: Any) -> Any:
    """Return the part of a network's node that its constructor may take, as plain data."""
    return without_options(node, _NOT_BUILT)


def without_options(node: Any, options: Collection[str]) -> Any:
    """Return a node as plain data without some of its options; anything but a mapping stays as it is."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)
    if not isinstance(node, Mapping):
        return node
    return {str(key): value for key, value in node.items() if key not in options}


def option_of_networks(pair: Mapping[Any, Any], option: str) -> dict[str, Any]:
    """Return the values of an option by the keys of the networks, None where it is not given."""
    return {key: node.get(option) for key, node in networks_of(pair).items() if isinstance(node, Mapping)}


def frozen_keys(pair: Mapping[Any, Any]) -> list[str]:
    """Return the keys of the networks that are never trained."""
    return [key for key, frozen in option_of_networks(pair, FROZEN).items() if frozen]


def unbranched_keys(pair: Mapping[Any, Any]) -> list[str]:
    """Return the keys of the networks that never get auxiliary branches.

    These are frozen ones with ``weights=``, which has none: branches at random weights would teach noise.
    """
    weights = option_of_networks(pair, WEIGHTS)
    return [key for key in frozen_keys(pair) if weights[key] is not None]


def branch_kinds(pair: Mapping[Any, Any]) -> dict[str, str]:
    """Return the kind of auxiliary branches of each network, by key, for those that name one."""
    return {key: kind for key, kind in option_of_networks(pair, BRANCHES).items() if kind is not None}


def frozen_stages(pair: Mapping[Any, Any]) -> dict[str, int]:
    """Return how many first stages of each network are not trained, by key, for those that have some."""
    return {key: stages for key, stages in option_of_networks(pair, FREEZE).items() if stages}


def deployed_options(pair: Mapping[Any, Any]) -> dict[str, bool]:
    """Return ``pair.KEY.deployed`` of the networks that have it, by key."""
    return {key: deployed for key, deployed in option_of_networks(pair, DEPLOYED).items() if deployed is not None}


def count_deployed_kinds(pair: Mapping[Any, Any]) -> int:
    """Return how many different networks a run deploys, unless its loss chooses fewer."""
    leader, options, frozen = pair.get(LEADER), deployed_options(pair), frozen_keys(pair)
    kinds = [
        without_options(node, TYPED_OPTIONS)
        for key, node in networks_of(pair).items()
        if options.get(key, key not in frozen if leader is None else key == leader)
    ]
    return max(1, sum(kind not in kinds[:i] for i, kind in enumerate(kinds)))
