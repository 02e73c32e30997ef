"""Build objects from a configuration: the only place that does."""

import functools
from collections.abc import Collection
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from mcl.config.checks import check, plain_data
from mcl.config.targets import KEYWORDS
from mcl.errors import UserError


def build(node: Any, /, *, path: str = "", allow: Collection[str] = (), **supplied: Any) -> Any:
    """Build the object that a node with ``_target_`` describes; it is checked first.

    Args:
        node: mapping or DictConfig with ``_target_``; nested targets are built too.
        path: path of the node in the configuration, for messages (``optimizer``).
        allow: modules beyond `mcl.config.targets.PACKAGES` whose members may be built.
        supplied: arguments that do not come from the configuration (``params``, ``num_classes``).

    Raises:
        UserError: unknown target or option, wrong type, or a constructor that refuses its values.
    """
    plain = plain_data(node, path)
    check(plain, path=path, allow=allow, supplied=supplied)
    try:
        factory = hydra.utils.instantiate({**plain, "_partial_": True}, _convert_="all")
        return functools.partial(factory, **supplied) if plain.get("_partial_") else factory(**supplied)
    except (InstantiationException, ValueError, TypeError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if isinstance(cause, UserError) or not isinstance(cause, ValueError | TypeError):
            raise cause from None
        given = ", ".join(f"{k}={v}" for k, v in plain.items() if k not in KEYWORDS and not isinstance(v, dict | list))
        raise UserError(f"{path or plain['_target_']} cannot be built: {cause} (given: {given})") from error
