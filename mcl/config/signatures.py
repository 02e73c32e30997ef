"""Signatures of constructors, inspected, or read from source where an import would take seconds."""

import ast
import functools
import importlib.util
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Signature:
    """The options of a class or a function.

    Args:
        title: what users call it.
        names: of its options, in order.
        required: those without a default.
        takes_any: whether it takes others, too (``**options``).
        hints: types by name, as far as they are known.
    """

    title: str
    names: tuple[str, ...]
    required: frozenset[str]
    takes_any: bool
    hints: Mapping[str, Any]


@functools.cache
def signature_of(target: Callable[..., Any]) -> Signature:
    """Of what has been imported."""
    parameters = inspect.signature(target).parameters
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # hints that only exist for type checkers
        hints = {}
    return Signature(
        title=getattr(target, "__qualname__", str(target)),
        names=tuple(named),
        required=frozenset(name for name, p in named.items() if p.default is p.empty),
        takes_any=any(p.kind is p.VAR_KEYWORD for p in parameters.values()),
        hints=hints,
    )


@functools.cache
def written_signature(name: str) -> Signature | None:
    """Of a class with an ``__init__`` of its own, or a plain dataclass, by its source; nothing is imported.

    None where the source does not tell as much: `signature_of` does. Types that hang on other names than Python's own
    are left open.
    """
    module, _, title = name.rpartition(".")
    found = _definition(module, title)
    if not isinstance(found, ast.ClassDef):
        return None
    for part in found.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return _of_function(title, part)
    decorators = [node.func if isinstance(node, ast.Call) else node for node in found.decorator_list]
    if not found.bases and any(isinstance(node, ast.Name) and node.id == "dataclass" for node in decorators):
        return _of_dataclass(title, found)
    return None


def _definition(module: str, title: str, follow: int = 3) -> ast.stmt | None:
    """The statement that defines a name, at the top of a module or of one that it imports the name from."""
    source = _source(module)
    for part in ast.parse(source.read_text(encoding="utf-8")).body if source is not None else ():
        if isinstance(part, ast.ClassDef | ast.FunctionDef) and part.name == title:
            return part
        if isinstance(part, ast.ImportFrom) and part.module and not part.level and follow:
            for alias in part.names:
                if (alias.asname or alias.name) == title:
                    return _definition(part.module, alias.name, follow - 1)
    return None


def _source(module: str) -> Path | None:
    package, *inner = module.split(".")
    spec = importlib.util.find_spec(package)  # of a top-level package, which is not imported for that
    for place in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(place, *inner)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return file
    return None


def _of_function(title: str, function: ast.FunctionDef) -> Signature:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    without = len(positional) - len(arguments.defaults)
    required = [argument.arg for argument in positional[:without]]
    required += [a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default]
    itself = positional[0].arg
    named = [a for a in (*arguments.args, *arguments.kwonlyargs) if a.arg != itself]
    return Signature(
        title=title,
        names=tuple(argument.arg for argument in named),
        required=frozenset(required) - {itself},
        takes_any=arguments.kwarg is not None,
        hints={argument.arg: _type(argument.annotation) for argument in named},
    )


def _of_dataclass(title: str, definition: ast.ClassDef) -> Signature:
    fields = {
        part.target.id: part
        for part in definition.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    }
    return Signature(
        title=title,
        names=tuple(fields),
        required=frozenset(name for name, field in fields.items() if field.value is None),
        takes_any=False,
        hints={name: _type(field.annotation) for name, field in fields.items()},
    )


class _Tensor:
    """Stands for torch's: nothing in a configuration is one."""


_TYPES: dict[str, Any] = {kind.__name__: kind for kind in (int, float, bool, str, list, tuple, dict)}
_TYPES |= {"Sequence": Sequence, "Mapping": Mapping, "Path": Path, "Tensor": _Tensor}


def _type(node: ast.expr | None) -> Any:
    """The type that an annotation means; Any where it is not made of Python's own."""
    try:
        return _known_type(node)
    except LookupError:
        return Any


def _known_type(node: ast.expr | None) -> Any:
    if isinstance(node, ast.Constant) and node.value is None:
        return type(None)
    if isinstance(node, ast.Name):
        return _TYPES[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _known_type(node.left) | _known_type(node.right)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if node.value.id == "Literal" and all(isinstance(choice, ast.Constant) for choice in inner):
            return Literal[tuple(choice.value for choice in inner if isinstance(choice, ast.Constant))]
        if node.value.id in ("list", "Sequence"):
            return _TYPES[node.value.id][_type(inner[0])]
        if node.value.id in ("dict", "Mapping"):
            return _TYPES[node.value.id][_type(inner[0]), _type(inner[1])]
    raise LookupError
