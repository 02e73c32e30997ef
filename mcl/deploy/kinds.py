"""Classes that the configuration of a received file may build, by their place; no functions."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mcl.config.targets import defined_in, resolve
from mcl.errors import UserError

ARGUMENTS = ("mcl.losses", "mcl.data.augmentation", "torchvision.transforms")  # whose classes may be arguments, too


def check_kinds(kind: type, node: Mapping[str, Any], *, path: str, allow: Sequence[str] = ()) -> None:
    """Raise UserError unless a node gives a ``kind`` and every target inside it is a class that belongs there.

    Subclasses of torch.nn.Module and the classes of `ARGUMENTS` may be arguments. In a module of the caller's own,
    everything may be built.

    Args:
        kind: the class expected.
        node: plain data with ``_target_``.
        path: where the node stands in the configuration.
        allow: the caller's own modules.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{path}: no _target_ here, so there is nothing to build.")
    name = node["_target_"]
    target = resolve(name, path=path, allow=allow)
    if not defined_in(target, allow) and not (inspect.isclass(target) and issubclass(target, kind)):
        raise UserError(f"{path}._target_={name}: gives no {kind.__name__}.")
    for key, value in node.items():
        _check_arguments(value, f"{path}.{key}", allow)


def _check_arguments(value: Any, path: str, allow: Sequence[str]) -> None:
    if isinstance(value, Mapping):
        if "_target_" in value:
            _check_argument(str(value["_target_"]), path, allow)
        for key, child in value.items():
            _check_arguments(child, f"{path}.{key}", allow)
    elif isinstance(value, list | tuple):
        for i, child in enumerate(value):
            _check_arguments(child, f"{path}.{i}", allow)


def _check_argument(name: str, path: str, allow: Sequence[str]) -> None:
    target = resolve(name, path=path, allow=allow)
    if defined_in(target, allow):
        return
    if not inspect.isclass(target) or not (issubclass(target, nn.Module) or defined_in(target, ARGUMENTS)):
        home = target.__module__
        raise UserError(
            f"{path}._target_={name}: a received file may build torch.nn.Module classes and those of"
            f" {', '.join(ARGUMENTS)} here. If you trust what it names: --allow {home} (mcl.load: allow=[{home!r}])."
        )
