"""The group ``pair`` of a configuration: its networks by key, and the options beside them."""

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

SHARED_STAGES, LEADER = "shared_stages", "leader"  # options of the whole pair
PAIR_OPTIONS = (SHARED_STAGES, LEADER)
FROZEN = "frozen"  # an option of each network


def networks_of(pair: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the nodes of the networks by key, without the options of the pair."""
    return {str(key): node for key, node in pair.items() if key not in PAIR_OPTIONS}


def network_node(node: Any) -> Any:
    """Return the part of a network's node that builds it, as plain data."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)
    return {str(key): value for key, value in node.items() if key != FROZEN} if isinstance(node, Mapping) else node


def frozen_keys(pair: Mapping[Any, Any]) -> list[str]:
    """Return the keys of the networks that are never trained."""
    nodes = networks_of(pair)
    return [key for key, node in nodes.items() if isinstance(node, Mapping) and node.get(FROZEN)]
