"""Check the options of a pair that are not those of one network's constructor, without torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mcl.errors import UserError, unknown
from mcl.networks.branch_names import COPY, check_kind
from mcl.runs.pair import (
    BRANCHES,
    DEPLOYED,
    FREEZE,
    FROZEN,
    LEADER,
    SHARED_STAGES,
    STRICT,
    WEIGHTS,
    deployed_options,
    frozen_keys,
    frozen_stages,
    networks_of,
)
from mcl.runs.weights_places import places_of


def check_pair(pair: Mapping[str, Any], init_from: Any) -> None:
    """Check which networks share stages, are frozen or are deployed, and where their weights come from.

    Args:
        pair: the group as plain data.
        init_from: ``init_from`` as plain data: a place, or a place for each network.

    Raises:
        UserError: an option is of the wrong type, or two options do not fit together.
    """
    nodes = networks_of(pair)
    shares = _check_shared_stages(pair.get(SHARED_STAGES, 0), len(nodes))
    leader = pair.get(LEADER)
    if leader is not None and leader not in nodes:
        raise unknown("network", f"pair.{LEADER}={leader}", list(nodes))
    _check_init_from(init_from, list(nodes))
    for key, node in nodes.items():
        if isinstance(node, Mapping):
            _check_network(key, node)
    _check_deployed(deployed_options(pair), leader, list(nodes))
    starts = init_from if isinstance(init_from, Mapping) else dict.fromkeys(nodes, init_from)
    for key in places_of(pair):
        if starts.get(key) is not None:
            raise UserError(
                f"pair.{key}.{WEIGHTS}={nodes[key][WEIGHTS]}: init_from={starts[key]} also says where its weights come"
                " from. Give one of the two."
            )
    frozen = frozen_keys(pair)
    for key, stages in frozen_stages(pair).items():
        option = f"pair.{key}.{FREEZE}={stages}"
        if key in frozen:
            raise UserError(f"{option}: pair.{key}.{FROZEN}=true freezes all of the network already. Give one of both.")
        if shares:
            raise UserError(f"{option}: frozen stages cannot be shared with networks. Use pair.{SHARED_STAGES}=0.")
        _check_trained(option, key, nodes[key], starts)
    if not frozen:
        return
    option = f"pair.{frozen[0]}.{FROZEN}=true"
    if len(frozen) == len(nodes):
        raise UserError(f"{option}: all networks are frozen, so nothing is trained. Leave one of them unfrozen.")
    if shares:
        raise UserError(f"{option}: a frozen network shares no stages with trained ones. Use pair.{SHARED_STAGES}=0.")
    for key in frozen:
        _check_trained(f"pair.{key}.{FROZEN}=true", key, nodes[key], starts)


def check_direction(loss: Any, pair: Mapping[str, Any]) -> None:
    """Raise UserError if the only network that would learn from others is frozen."""
    first = next(iter(networks_of(pair)))
    if isinstance(loss, Mapping) and loss.get("direction") == "one_way" and first in frozen_keys(pair):
        raise UserError(
            f"loss.direction=one_way: the first network learns from the others, and pair.{first}.{FROZEN}=true."
            " Freeze another network."
        )


def _check_network(key: str, node: Mapping[str, Any]) -> None:
    """Check the types of one network's options."""
    for name, default in ((FROZEN, False), (STRICT, True)):
        if not isinstance(node.get(name, default), bool):
            raise UserError(f"pair.{key}.{name}={node[name]}: expected true or false.")
    if not isinstance(node.get(DEPLOYED), bool | None):
        raise UserError(f"pair.{key}.{DEPLOYED}={node[DEPLOYED]}: expected true, false, or null for the loss's choice.")
    if not isinstance(node.get(WEIGHTS), str | None):
        raise UserError(f"pair.{key}.{WEIGHTS}={node[WEIGHTS]}: expected a file, a run, or a name of weights.")
    check_kind(f"pair.{key}.{BRANCHES}", node.get(BRANCHES, COPY))
    freeze = node.get(FREEZE, 0)
    if isinstance(freeze, bool) or not isinstance(freeze, int) or freeze < 0:
        raise UserError(
            f"pair.{key}.{FREEZE}={freeze}: expected a number of stages, from the first; 0 for none, or"
            f" pair.{key}.{FROZEN}=true for the whole network."
        )


def _check_deployed(deployed: Mapping[str, bool], leader: str | None, keys: list[str]) -> None:
    if leader is not None and deployed.get(leader) is False:
        raise UserError(f"pair.{leader}.{DEPLOYED}=false: pair.{LEADER}={leader} deploys it. Leave out one of the two.")
    if all(deployed.get(key) is False for key in keys):
        raise UserError(f"pair.{keys[0]}.{DEPLOYED}=false: no network would be deployed. Leave one of them out.")


def _check_trained(option: str, key: str, node: Mapping[str, Any], starts: Mapping[str, Any]) -> None:
    """Raise UserError if what an option freezes would have random weights."""
    if starts.get(key) is None and node.get(WEIGHTS) is None:
        raise UserError(
            f"{option}: it would stay at random weights. Name those of a trained network:"
            f" pair.{key}.{WEIGHTS}=RUN_OR_FILE, or 'init_from={{{key}: RUN_OR_FILE}}'."
        )


def _check_shared_stages(value: Any, networks: int) -> bool:
    """Check ``pair.shared_stages``; return whether any stage is shared."""
    option = f"pair.{SHARED_STAGES}={value}"
    numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in numbers):
        raise UserError(f"{option}: expected a number of stages, or a list of the copies of each stage, as [1,2,4].")
    if value and networks < 2:
        raise UserError(f"{option}: one network shares nothing. Choose a pair of two, or pair.{SHARED_STAGES}=0.")
    return bool(value)


def _check_init_from(value: Any, keys: list[str]) -> None:
    if value is None or isinstance(value, str):
        return
    if not isinstance(value, Mapping) or not all(isinstance(place, str) for place in value.values()):
        raise UserError(
            f"init_from={value}: expected a run folder or a file, or one for each network: '{{first: RUN}}'."
        )
    for key in value:
        if key not in keys:
            raise unknown("network", f"init_from: {key}", keys)
