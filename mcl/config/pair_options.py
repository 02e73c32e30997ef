"""Check the options of a pair that are not those of one network's constructor, without torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mcl.errors import UserError, unknown
from mcl.runs.pair import FROZEN, LEADER, SHARED_STAGES, frozen_keys, networks_of


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
        value = node.get(FROZEN, False) if isinstance(node, Mapping) else False
        if not isinstance(value, bool):
            raise UserError(f"pair.{key}.{FROZEN}={value}: expected true or false.")
    frozen = frozen_keys(pair)
    if not frozen:
        return
    option = f"pair.{frozen[0]}.{FROZEN}=true"
    if len(frozen) == len(nodes):
        raise UserError(f"{option}: all networks are frozen, so nothing is trained. Leave one of them unfrozen.")
    if shares:
        raise UserError(f"{option}: a frozen network shares no stages with trained ones. Use pair.{SHARED_STAGES}=0.")
    for key in frozen:
        starts = init_from if isinstance(init_from, Mapping) else {key: init_from}
        if starts.get(key) is None and nodes[key].get("weights") is None:
            raise UserError(
                f"pair.{key}.{FROZEN}=true: it would stay at random weights. Name those of a trained network:"
                f" 'init_from={{{key}: RUN_OR_FILE}}'."
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
