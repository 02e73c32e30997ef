"""Decide which classes and functions a ``_target_`` may name, and import them.

Only members of the packages below and of modules that the user allowed by name are built, so that a configuration
found in somebody's run folder cannot call anything else.
"""

import importlib
import os
import sys
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any, cast

from mcl.errors import UserError, did_you_mean, locate
from mcl.extras import require

PACKAGES = (
    *("mcl.networks", "mcl.losses", "mcl.data", "mcl.training", "mcl.tracking"),
    *("timm.optim", "torch.nn", "torch.optim", "torchvision.models", "torchvision.ops", "torchvision.transforms"),
)
KEYWORDS = {"_target_", "_partial_", "_recursive_", "_convert_"}


def resolve(name: str, *, path: str = "", allow: Collection[str] = ()) -> Callable[..., Any]:
    """Import the class or function that a ``_target_`` names.

    Args:
        name: ``module.Class``.
        path: path of the node in the configuration, for messages.
        allow: modules beyond `PACKAGES` whose members may be built.

    Raises:
        UserError: it does not exist, or may not be built.
    """
    packages, root = {*PACKAGES, *allow}, name.split(".")[0]
    where = f"{path}._target_={name}" if path else f"_target_={name}"
    if not inside(name, packages):
        allowing = f" To trust it: 'allow_modules=[{root}]' (python -m mcl: --allow {root})."
        trusted_root = root in _roots(PACKAGES)
        raise UserError(f"{where}: only members of {_list(packages)} can be built.{'' if trusted_root else allowing}")
    require(root, asked=where)
    if not inside(name, PACKAGES) and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that nothing there shadows an installed module
    target, parent = _import_longest(name, where)
    for part in name.removeprefix(f"{parent}.").split("."):
        if isinstance(target, ModuleType) and not inside(target.__name__, packages | _roots(packages)):
            raise UserError(f"{where}: {parent} leads out of the allowed packages.")
        if not hasattr(target, part):
            raise UserError(f"{where}: {parent} has no {part!r}.{did_you_mean(part, dir(target))}")
        target, parent = getattr(target, part), f"{parent}.{part}"
    # An alias such as mcl.losses.base.torch.hub.load leaves the package by attribute: the place of definition counts.
    if not callable(target) or not defined_in(target, packages):
        raise UserError(f"{where}: not a class or function defined in {_list(packages)}.")
    return cast(Callable[..., Any], target)


def defined_in(target: Any, packages: Collection[str]) -> bool:
    """Return whether a class or function was defined in one of these packages, whatever name it was found by."""
    return inside(getattr(target, "__module__", "") or "", packages)


def inside(name: str, packages: Collection[str]) -> bool:
    """Return whether a dotted name is one of these packages or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _import_longest(name: str, where: str) -> tuple[Any, str]:
    """Import the longest part of a dotted name that is a module, and return it with that part."""
    module = name.rpartition(".")[0]
    if not module:
        raise UserError(f"{where}: there is no module {name!r} to import, neither here nor on PYTHONPATH.")
    try:
        return importlib.import_module(module), module
    except ModuleNotFoundError as error:
        if error.name is not None and not inside(module, [error.name]):
            raise UserError(f"{where}: importing {module} failed: {error}.") from error
        return _import_longest(module, where)
    except Exception as error:
        if inside(module, _roots(PACKAGES)):
            raise
        raise UserError(f"{where}: importing {module} failed: {locate(error)}.") from error


def _roots(packages: Collection[str]) -> set[str]:
    return {package.split(".")[0] for package in packages}


def _list(packages: Collection[str]) -> str:
    return ", ".join(sorted(packages))
