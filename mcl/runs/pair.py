"""The group ``pair`` of a configuration: its networks by key, and the options beside them."""

from collections.abc import Mapping
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
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)
    if not isinstance(node, Mapping):
        return node
    return {str(key): value for key, value in node.items() if key not in _NOT_BUILT}


def frozen_keys(pair: Mapping[Any, Any]) -> list[str]:
    """Return the keys of the networks that are never trained."""
    nodes = networks_of(pair)
    return [key for key, node in nodes.items() if isinstance(node, Mapping) and node.get(FROZEN)]


def unbranched_keys(pair: Mapping[Any, Any]) -> list[str]:
    """Return the keys of the networks that never get auxiliary branches.

    These are frozen ones with ``weights=``, which has none: branches at random weights would teach noise.
    """
    nodes = networks_of(pair)
    return [key for key in frozen_keys(pair) if nodes[key].get(WEIGHTS) is not None]


def branch_kinds(pair: Mapping[Any, Any]) -> dict[str, str]:
    """Return the kind of auxiliary branches of each network, by key, for those that name one."""
    nodes = networks_of(pair)
    return {key: node[BRANCHES] for key, node in nodes.items() if isinstance(node, Mapping) and BRANCHES in node}


def frozen_stages(pair: Mapping[Any, Any]) -> dict[str, int]:
    """Return how many first stages of each network are not trained, by key, for those that have some."""
    nodes = networks_of(pair)
    return {key: node[FREEZE] for key, node in nodes.items() if isinstance(node, Mapping) and node.get(FREEZE)}


def deployed_options(pair: Mapping[Any, Any]) -> dict[str, bool]:
    """Return ``pair.KEY.deployed`` of the networks that have it, by key."""
    nodes = networks_of(pair)
    chosen = {key: node.get(DEPLOYED) for key, node in nodes.items() if isinstance(node, Mapping)}
    return {key: value for key, value in chosen.items() if value is not None}
