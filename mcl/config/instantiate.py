"""Build objects from a configuration: the only place that does.

A ``_target_`` is built only when it lies in the packages below or in a module that the user allowed by name, so that
a configuration found in somebody's run folder cannot call anything else. Interpolations are resolved first, and names
and scalar types compared with the constructor's signature before anything is built.
"""

import functools
import importlib
import inspect
import math
import os
import pathlib
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Union

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from mcl.config.signatures import Signature, signature_of, written_signature
from mcl.errors import UserError, did_you_mean
from mcl.runs.received import interpolation_in

PACKAGES = (
    *("mcl.networks", "mcl.losses", "mcl.data", "mcl.training", "mcl.tracking"),
    *("torch.nn", "torch.optim", "torchvision.models", "torchvision.ops", "torchvision.transforms"),
)
_ROOTS = {package.split(".")[0] for package in PACKAGES}
KEYWORDS = {"_target_", "_partial_", "_recursive_", "_convert_"}


def build(node: Any, /, *, path: str = "", allow: Collection[str] = (), **supplied: Any) -> Any:
    """Build the object that a node with ``_target_`` describes.

    Args:
        node: mapping or DictConfig with ``_target_``; nested targets are built too.
        path: where the node stands in the configuration, for messages (``optimizer``).
        allow: modules beyond `PACKAGES` whose members may be built.
        supplied: arguments that do not come from the configuration (``params``, ``num_classes``).

    Raises:
        UserError: unknown target or option, wrong type, or a constructor that refuses its values.
    """
    plain = _plain(node, path)
    check(plain, path=path, allow=allow, supplied=supplied)
    given = ", ".join(f"{k}={v}" for k, v in plain.items() if k not in KEYWORDS and not isinstance(v, dict | list))
    try:
        factory = hydra.utils.instantiate({**plain, "_partial_": True}, _convert_="all")
        if plain.get("_partial_"):
            return functools.partial(factory, **supplied)
        return factory(**supplied)
    except (InstantiationException, ValueError, TypeError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if isinstance(cause, UserError) or not isinstance(cause, ValueError | TypeError):
            raise cause from None
        raise UserError(f"{path or plain['_target_']} cannot be built: {cause} (given: {given})") from error


def check(
    node: Any,
    *,
    path: str = "",
    allow: Collection[str] = (),
    supplied: Collection[str] = (),
    as_written: bool = False,
) -> None:
    """Compare a node, and every target inside it, with the signatures of what it would build. Builds nothing.

    With ``as_written`` nothing is imported either: signatures are read from source, and those that cannot be pass.
    """
    plain = _plain(node, path)
    if not isinstance(plain.get("_target_"), str):
        raise UserError(f"{path or 'node'}: no _target_ here, so there is nothing to build.")
    unknown = [key for key in plain if key.startswith("_") and key not in KEYWORDS]
    if unknown:
        raise UserError(f"{path}.{unknown[0]}: not a keyword here; known are {', '.join(sorted(KEYWORDS))}.")
    if as_written:
        signature = written_signature(plain["_target_"]) if _inside(plain["_target_"], PACKAGES) else None
    else:
        signature = signature_of(resolve(plain["_target_"], path=path, allow=allow))
    options = {key: value for key, value in plain.items() if key not in KEYWORDS}
    if signature is not None:
        _check_options(signature, options, path, set(supplied), partial=bool(plain.get("_partial_")))
    for key, value in options.items():
        for where, child in _nested(value, f"{path}.{key}" if path else key):
            check(child, path=where, allow=allow, as_written=as_written)


def resolve(name: str, *, path: str = "", allow: Collection[str] = ()) -> Callable[..., Any]:
    """The class or function that a ``_target_`` names, if it may be built."""
    packages = (*PACKAGES, *allow)
    where = f"{path}._target_={name}" if path else f"_target_={name}"
    if not _inside(name, packages):
        root = name.split(".")[0]
        how = f"'allow_modules=[{root}]' (of python -m mcl: --allow {root})"
        allowing = f" If it is yours and you trust it: {how}." if root not in _ROOTS else ""
        raise UserError(f"{where}: only what lies in {', '.join(sorted(packages))} is built.{allowing}")
    if not _inside(name, PACKAGES) and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that nothing there stands in for an installed module
    found = _locate(name, where, packages)
    # An alias such as mcl.losses.base.torch.hub.load leaves the package by attribute: where it was defined counts.
    if not callable(found) or not defined_in(found, packages):
        raise UserError(f"{where}: not a class or function defined in {', '.join(sorted(packages))}.")
    return typing.cast(Callable[..., Any], found)


def defined_in(target: Any, packages: Collection[str]) -> bool:
    """Return whether a class or function was defined in one of these packages, whatever name it was found by."""
    return _inside(getattr(target, "__module__", "") or "", packages)


def _locate(name: str, where: str, packages: Sequence[str]) -> Any:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{module_name}.".startswith(f"{error.name}."):
                raise UserError(f"{where}: importing {module_name} failed: {error}.") from error
            continue
        for position, part in enumerate(parts[length:], length):
            if isinstance(found, types.ModuleType) and not _inside(found.__name__, _with_parents(packages)):
                raise UserError(f"{where}: {'.'.join(parts[:position])} leads out of the allowed packages.")
            if not hasattr(found, part):
                raise UserError(
                    f"{where}: {'.'.join(parts[:position])} has no {part!r}." + did_you_mean(part, dir(found))
                )
            found = getattr(found, part)
        return found
    raise UserError(f"{where}: there is no module {parts[0]!r} to import, neither here nor on PYTHONPATH.")


def _inside(name: str, packages: Collection[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _with_parents(packages: Collection[str]) -> set[str]:
    return {*packages, *(package.split(".")[0] for package in packages)}


def _plain(node: Any, path: str) -> dict[str, Any]:
    """Return a node as plain data in which Hydra has nothing left to resolve: what is checked is what is built."""
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=True)
    if not isinstance(node, Mapping):
        raise UserError(f"expected a mapping with _target_, got {node!r}.")
    if (left := interpolation_in(node, path)) is not None:
        raise UserError(
            f"{left} still holds '${{' once it is resolved, as an escaped interpolation does: write it out."
        )
    return {str(key): value for key, value in node.items()}


def _nested(value: Any, path: str) -> list[tuple[str, Any]]:
    """The outermost nodes with a ``_target_`` inside a value, with their paths."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return [(path, value)]
        return [found for key, child in value.items() for found in _nested(child, f"{path}.{key}")]
    if isinstance(value, list | tuple):
        return [found for i, child in enumerate(value) for found in _nested(child, f"{path}.{i}")]
    return []


def _check_options(
    signature: Signature, options: Mapping[str, Any], path: str, supplied: set[str], *, partial: bool
) -> None:
    open_names = [name for name in signature.names if name not in supplied]
    prefix = f"{path}." if path else ""
    for name, value in options.items():
        if name not in open_names and not (signature.takes_any and name not in supplied):
            raise UserError(
                f"{prefix}{name}: {signature.title} has no such option.{did_you_mean(name, open_names)}"
                f" It has: {', '.join(open_names) or 'none'}."
            )
        hint = signature.hints.get(name, Any)
        if value == "???":
            raise UserError(f"{prefix}{name} is not set: give {prefix}{name}=VALUE.")
        if not _fits(value, hint):
            raise UserError(f"{prefix}{name}={value}: expected {_describe(hint)}.{_near_literal(value, hint)}")
    missing = [name for name in open_names if name in signature.required and name not in options]
    if missing and not partial:
        raise UserError(f"{prefix}{missing[0]} is not set: give {prefix}{missing[0]}=VALUE (for {signature.title}).")


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, typing.TypeVar) or (isinstance(value, Mapping) and "_target_" in value):
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Annotated:
        return _fits(value, arguments[0])
    if origin is Literal:
        return value in arguments and not (isinstance(value, bool) and True not in arguments)
    if isinstance(value, Mapping):
        return _is_container(origin or hint, dict) and (
            len(arguments) < 2 or all(_fits(child, arguments[1]) for child in value.values())
        )
    if isinstance(value, list | tuple):
        if not _is_container(origin or hint, list) and not _is_container(origin or hint, tuple):
            return False
        if (origin or hint) is tuple and arguments and arguments[-1] is not Ellipsis:
            return len(value) == len(arguments) and all(map(_fits, value, arguments))
        return not arguments or all(_fits(child, arguments[0]) for child in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint in (int, str, bool):
        return type(value) is hint
    return isinstance(value, str) and hint in (pathlib.Path, object)


def _is_container(hint: Any, kind: type) -> bool:
    return hint is object or (inspect.isclass(hint) and issubclass(kind, hint))


def _describe(hint: Any) -> str:
    """A type as a person would say it: ``a whole number or null``."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    words[pathlib.Path] = "a path"
    if hint in words:
        return words[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (Union, types.UnionType):
        known = [_describe(a) for a in arguments if a in words or typing.get_origin(a) is not None]
        return " or ".join(dict.fromkeys(known)) or str(hint)
    if _is_container(origin or hint, tuple) and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} ({', '.join(map(_describe, arguments))})"
    if _is_container(origin or hint, list) or _is_container(origin or hint, tuple):
        return f"a list (each {_describe(arguments[0])})" if arguments else "a list"
    if _is_container(origin or hint, dict):
        return "a mapping"
    return getattr(hint, "__name__", str(hint))


def _near_literal(value: Any, hint: Any) -> str:
    choices = [a for h in (hint, *typing.get_args(hint)) if typing.get_origin(h) is Literal for a in typing.get_args(h)]
    return did_you_mean(value, choices)
