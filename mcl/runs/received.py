"""Check configurations read from a file: a run folder, a checkpoint, a bundle, an exported file.

OmegaConf resolves every ``${...}``, and ``${oc.create:...}`` creates nodes with a ``_target_``. The configuration in a
file from elsewhere must therefore be plain data. Only what the user types may hold interpolations.
"""

import re
from collections.abc import Mapping
from typing import Any

from mcl.errors import UserError
from mcl.runs.renames import current_names

_MARK = "${"  # also in \${...}, an interpolation once resolved
_NETWORK_KEY = re.compile(r"[A-Za-z0-9_.-]+")  # part of file names
_SCALARS = (type(None), bool, int, float, str)
_LONGEST = 80  # characters of a value in a message


def received(config: Any, source: str) -> dict[str, Any]:
    """Return a configuration found in a file as new dicts, lists and scalars.

    Args:
        config: the content of the file.
        source: name of the file in messages.

    Raises:
        UserError: It is not a mapping, or holds an interpolation or something other than plain data.
    """
    if not isinstance(config, Mapping):
        raise UserError(f"{source}: {_short(config)} is not a configuration.")
    if (location := interpolation_in(config)) is not None:
        raise UserError(f"{source}: {location} holds an interpolation, which a run does not write.")
    plain = _copy(config, source, "")
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def received_run(config: Any, source: str) -> dict[str, Any]:
    """Return the configuration of a run, as `received` does, under the present names of its options.

    Raises:
        UserError: It is not the configuration of a run, or a network has a key that cannot be part of a file name.
    """
    settings = received(config, source)
    if not {"pair", "dataset"} <= settings.keys():
        raise UserError(f"{source} is no configuration of a run: it names no pair and no dataset.")
    if isinstance(settings["pair"], dict):
        for key in settings["pair"]:
            checked_network_key(str(key), f"{source}: pair")
    return current_names(settings)


def checked_network_key(key: str, source: str) -> str:
    """Return a network's key; raise UserError unless it can be part of a file name."""
    if not _NETWORK_KEY.fullmatch(key):
        raise UserError(f"{source}: {_short(key)} cannot be a network's key: only letters, digits, '_', '-' and '.'.")
    return key


def interpolation_in(node: Any, place: str = "") -> str | None:
    """Return the path of the first value or key in plain data that holds ``${``, with its text; None if none does."""
    if isinstance(node, str) and _MARK in node:
        return f"{place}={_short(node)}"
    if isinstance(node, Mapping):
        for key, child in node.items():
            if _MARK in str(key):
                return f"{place or 'the top'} has a key {_short(key)}, which"
            if (found := interpolation_in(child, _below(place, key))) is not None:
                return found
    if isinstance(node, list | tuple):
        for i, child in enumerate(node):
            if (found := interpolation_in(child, _below(place, i))) is not None:
                return found
    return None


def _copy(node: Any, source: str, place: str) -> Any:
    if isinstance(node, Mapping):
        for key in node:
            if not isinstance(key, _SCALARS):
                raise UserError(f"{source}: {place or 'the top'} has a key of type {type(key).__name__}.")
        return {key: _copy(child, source, _below(place, key)) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [_copy(child, source, _below(place, i)) for i, child in enumerate(node)]
    if not isinstance(node, _SCALARS):
        raise UserError(f"{source}: {place} is of type {type(node).__name__}, which no configuration holds.")
    return node


def _below(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)


def _short(value: object) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
