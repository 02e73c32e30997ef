"""Compare values of a configuration with type hints, and put type hints into words."""

import inspect
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union

from mcl.errors import did_you_mean

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
_WORDS |= {type(None): "null"}


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value can be given for a parameter; a node with ``_target_`` fits every type."""
    if hint is Any or isinstance(hint, typing.TypeVar) or (isinstance(value, Mapping) and "_target_" in value):
        return True
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if kind is Literal:
        return value in arguments and not (isinstance(value, bool) and True not in arguments)
    if isinstance(value, Mapping):
        return _accepts(kind, dict) and (len(arguments) < 2 or all(fits(each, arguments[1]) for each in value.values()))
    if isinstance(value, list | tuple):
        if _has_fixed_length(kind, arguments):
            return len(value) == len(arguments) and all(map(fits, value, arguments))
        return _accepts(kind, list, tuple) and (not arguments or all(fits(each, arguments[0]) for each in value))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind in (int, str, bool, type(None)):
        return type(value) is kind
    return isinstance(value, str) and kind in (Path, object)


def describe(hint: Any, value: Any) -> str:
    """Describe the values that fit, e.g. ``expected a whole number or null.``, and the one that ``value`` may mean."""
    choices = [a for h in (hint, *typing.get_args(hint)) if typing.get_origin(h) is Literal for a in typing.get_args(h)]
    return f"expected {_in_words(hint)}.{did_you_mean(value, choices)}"


def misfit(name: str, value: Any, hint: Any) -> tuple[str, Any, Any]:
    """Return what does not fit, with its dotted name and its hint: the value, or one entry of a mapping that does."""
    for each in (hint, *typing.get_args(hint)):
        arguments = typing.get_args(each)
        if isinstance(value, Mapping) and _accepts(typing.get_origin(each), dict) and len(arguments) == 2:
            wrong = [key for key, entry in value.items() if not fits(entry, arguments[1])]
            return misfit(f"{name}.{wrong[0]}", value[wrong[0]], arguments[1]) if wrong else (name, value, hint)
    return name, value, hint


def _in_words(hint: Any) -> str:
    if hint in _WORDS:
        return _WORDS[hint]
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if kind in (Union, types.UnionType):
        known = [_in_words(each) for each in arguments if each in _WORDS or typing.get_origin(each) is not None]
        return " or ".join(dict.fromkeys(known)) or str(hint)
    if _has_fixed_length(kind, arguments):
        return f"a list of {len(arguments)} ({', '.join(map(_in_words, arguments))})"
    if _accepts(kind, list, tuple):
        return f"a list (each {_in_words(arguments[0])})" if arguments else "a list"
    return "a mapping" if _accepts(kind, dict) else getattr(hint, "__name__", str(hint))


def _accepts(kind: Any, *given: type) -> bool:
    return kind is object or (inspect.isclass(kind) and any(issubclass(each, kind) for each in given))


def _has_fixed_length(kind: Any, arguments: tuple[Any, ...]) -> bool:
    return kind is tuple and bool(arguments) and arguments[-1] is not Ellipsis
