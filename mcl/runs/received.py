"""Check configurations read from a file: a run folder, a checkpoint, a bundle, an exported file.

OmegaConf resolves every ``${...}``, and ``${oc.create:...}`` creates nodes with a ``_target_``. The configuration in a
file from elsewhere must therefore be plain data. Only what the user types may hold interpolations.
"""

import re
from collections.abc import Mapping
from typing import Any

from mcl.errors import UserError
from mcl.runs.renames import current_names
from mcl.untrusted.limits import MAX_DEPTH, MAX_INTEGER, MAX_NAME, MAX_NODES
from mcl.untrusted.text import printable, shorten

_MARK = "${"  # also in \${...}, an interpolation once resolved
_NAME = re.compile(rf"(?!\.)[A-Za-z0-9_.-]{{1,{MAX_NAME}}}")
_SCALARS = (type(None), bool, int, float, str)


def received(config: Any, source: str) -> dict[str, Any]:
    """Return a configuration found in a file as new dicts, lists and scalars.

    Args:
        config: the content of the file.
        source: name of the file in messages.

    Raises:
        UserError: It is not a mapping, holds an interpolation or something other than plain data, or is too large.
    """
    if not isinstance(config, Mapping):
        raise UserError(f"{source}: {shorten(config)} is not a configuration.")
    plain = _Copy(source).of(config, "", 0)
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
    if not _NAME.fullmatch(key):
        raise UserError(
            f"{source}: {shorten(key)} cannot be a network's key: only letters, digits, '_', '-' and '.', and no '.'"
            " in front."
        )
    return key


def file_name(text: object) -> str:
    """Return a text from a file as a part of a file name: other characters than letters, digits and ``_.-`` are ``_``.

    >>> file_name("imagenet/resnet18"), file_name("../x")
    ('imagenet_resnet18', '_._x')
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", str(text))[:MAX_NAME]
    return f"_{name[1:]}" if name.startswith(".") else name or "_"


def class_names(names: Any, source: str) -> tuple[str, ...]:
    """Return the names of classes in a file, each on one line without control characters.

    Raises:
        UserError: It is not a list of names.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str | int | float) for name in names):
        raise UserError(f"{source}: its classes are not a list of names.")
    return tuple(map(printable, names))


def interpolation_in(node: Any, place: str = "") -> str | None:
    """Return the path of the first value or key in plain data that holds ``${``, with its text; None if none does."""
    if isinstance(node, str) and _MARK in node:
        return f"{place}={shorten(node)}"
    if isinstance(node, Mapping):
        for key, child in node.items():
            if _MARK in str(key):
                return f"{place or 'the top'} has a key {shorten(key)}, which"
            if (found := interpolation_in(child, _below(place, key))) is not None:
                return found
    if isinstance(node, list | tuple):
        for i, child in enumerate(node):
            if (found := interpolation_in(child, _below(place, i))) is not None:
                return found
    return None


class _Copy:
    """Copies plain data and checks it on the way; the number of copied values is limited."""

    def __init__(self, source: str):
        self.source = source
        self.count = 0

    def of(self, node: Any, place: str, depth: int) -> Any:
        """Return a copy of a value at a place in the configuration."""
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_NODES:
            raise self._error(f"more than {MAX_DEPTH} levels or {MAX_NODES:,} values.")
        if isinstance(node, Mapping):
            for key in node:
                if not isinstance(key, _SCALARS):
                    raise self._error(f"{shorten(place) or 'the top'} has a key of type {type(key).__name__}.")
                if _MARK in str(key):
                    at = shorten(place) or "the top"
                    raise self._error(
                        f"{at} has a key {shorten(key)}, which holds an interpolation, which a run does not write."
                    )
            return {key: self.of(child, _below(place, key), depth + 1) for key, child in node.items()}
        if isinstance(node, list | tuple):
            return [self.of(child, _below(place, i), depth + 1) for i, child in enumerate(node)]
        if not isinstance(node, _SCALARS):
            raise self._error(f"{shorten(place)} is of type {type(node).__name__}, which no configuration holds.")
        if isinstance(node, str) and _MARK in node:
            at = f"{shorten(place)}={shorten(node)}"
            raise self._error(f"{at} holds an interpolation, which a run does not write.")
        if isinstance(node, int) and abs(node) > MAX_INTEGER:
            raise self._error(f"{shorten(place)} is a number of too many digits.")
        return node

    def _error(self, problem: str) -> UserError:
        return UserError(f"{self.source}: {problem}")


def _below(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)
