"""The parts of nodes that constructors take, without the options that this project reads beside them."""

from collections.abc import Collection, Mapping
from typing import Any

from mcl.config.signatures import read_signature, signature_of
from mcl.config.targets import PACKAGES, inside, resolve
from mcl.errors import UserError
from mcl.runs.pair import WEIGHTS, network_node
from mcl.runs.weights_places import parse_place


def backbone_node(node: Any, *, path: str = "", allow: Collection[str] = ()) -> Any:
    """Return the part of a network's node that builds it, as plain data.

    ``weights`` stays if it names pretrained weights that the class knows; training loads those of a file or a run.

    Args:
        node: the network's node in the group ``pair``.
        path: its path in the configuration, for messages.
        allow: modules beyond `mcl.config.targets.PACKAGES` whose members may be built.

    Raises:
        UserError: it names pretrained weights, and its class has none.
    """
    plain = network_node(node)
    if not isinstance(plain, Mapping) or WEIGHTS not in plain or not isinstance(plain.get("_target_"), str):
        return plain
    weights, rest = plain[WEIGHTS], {key: value for key, value in plain.items() if key != WEIGHTS}
    takes = _takes_weights(plain["_target_"], path, allow)
    if parse_place(weights) is not None or (weights is None and not takes):
        return rest
    if not takes:
        name = plain.get("name") or plain["_target_"].rpartition(".")[2]
        raise UserError(
            f"{path}.{WEIGHTS}={weights}: there is no such file or run, and {name} has no pretrained weights by name."
            f" Give {path}.{WEIGHTS}=FILE, or a run as RUN, RUN:first or RUN:first:best."
        )
    return plain


def _takes_weights(target: str, path: str, allow: Collection[str]) -> bool:
    """Return whether a constructor has an argument ``weights``; torch is imported only if its source does not say."""
    signature = read_signature(target) if inside(target, PACKAGES) else None
    if signature is None:
        signature = signature_of(resolve(target, path=path, allow=allow))
    parameters = signature.parameters.values()
    return WEIGHTS in signature.parameters or any(each.kind is each.VAR_KEYWORD for each in parameters)
