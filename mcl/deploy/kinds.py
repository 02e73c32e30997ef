"""Build only the classes that belong in their place, for configurations in received files."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from omegaconf import OmegaConf
from torch import nn

from mcl.config.instantiate import build
from mcl.config.targets import defined_in, resolve
from mcl.errors import UserError

ARGUMENTS = ("mcl.losses", "mcl.data.augmentation", "torchvision.transforms")  # their classes may be arguments too
T = TypeVar("T")


def build_kind(kind: type[T], node: Any, *, path: str, allow: Sequence[str] = (), **supplied: Any) -> T:
    """Build a node of a received configuration if it gives a ``kind``; the arguments are those of `check_kinds`.

    Raises:
        UserError: It gives something else, names something that a received file may not build, or cannot be built.
    """
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)  # only the user's own overrides hold interpolations
    check_kinds(kind, node, path=path, allow=allow)
    built = build(node, path=path, allow=allow, **supplied)
    if not isinstance(built, kind):
        raise _wrong_kind(kind, node["_target_"], path)
    return built


def check_kinds(kind: type, node: Mapping[str, Any], *, path: str, allow: Sequence[str] = ()) -> None:
    """Raise UserError unless a node gives a ``kind`` and every target inside it is a class that belongs there.

    Arguments may be subclasses of torch.nn.Module and classes of the modules in `ARGUMENTS`. In the caller's own
    modules (``allow``), everything may be built. ``path`` is the node's path in the configuration.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{path}: no _target_ here, so there is nothing to build.")
    name = node["_target_"]
    target = resolve(name, path=path, allow=allow)
    if not defined_in(target, allow) and not (inspect.isclass(target) and issubclass(target, kind)):
        raise _wrong_kind(kind, name, path)
    for key, value in node.items():
        _check_arguments(value, f"{path}.{key}", allow)


def _wrong_kind(kind: type, target: str, path: str) -> UserError:
    return UserError(f"{path}._target_={target}: does not give a {kind.__name__}.")


def _check_arguments(value: Any, path: str, allow: Sequence[str]) -> None:
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return
    if "_target_" in value:
        _check_argument(str(value["_target_"]), path, allow)
    for key, child in value.items():
        _check_arguments(child, f"{path}.{key}", allow)


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
