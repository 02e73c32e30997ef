"""Signatures of constructors: inspected, or read from source when an import would take seconds.

Both hold the parameters that can be given by name, annotated with their types (Any if a type is unknown).
"""

import ast
import functools
import importlib.util
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_TYPES: dict[str, Any] = {kind.__name__: kind for kind in (int, float, bool, str, list, tuple, dict)}
_TYPES |= {"Sequence": Sequence, "Mapping": Mapping, "Path": Path, "Literal": typing.Literal}
_TYPES |= {"Tensor": type("Tensor", (), {})}  # stands in for torch's: no value of a configuration is one


@functools.cache
def signature_of(target: Callable[..., Any]) -> inspect.Signature:
    """Inspect an imported class or function."""
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # types that are imported for type checkers only
        hints = {}
    return _signature(inspect.signature(target).parameters.values(), hints)


@functools.cache
def read_signature(name: str) -> inspect.Signature | None:
    """Read the signature of a class from source; None unless it has its own ``__init__`` or is a plain dataclass."""
    module, _, title = name.rpartition(".")
    definition = _find_class(module, title)
    arguments = None if definition is None else _arguments(definition)
    if arguments is None:
        return None
    # It matters which arguments have defaults, not their values.
    arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    arguments.kw_defaults = [default and ast.Constant(None) for default in arguments.kw_defaults]
    stub: dict[str, Any] = {}
    exec(f"from __future__ import annotations\ndef __init__({ast.unparse(arguments)}): ...", stub)
    _, *parameters = inspect.signature(stub["__init__"]).parameters.values()  # without self
    return _signature(parameters, {each.name: _evaluate(each.annotation) for each in parameters})


def _signature(parameters: Iterable[inspect.Parameter], hints: Mapping[str, Any]) -> inspect.Signature:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    return inspect.Signature([p.replace(annotation=hints.get(p.name, Any)) for p in parameters if p.kind in kinds])


def _evaluate(annotation: str) -> Any:
    try:
        return eval(annotation, {}, _TYPES)
    except (NameError, AttributeError, TypeError):  # made of other types
        return Any


def _arguments(definition: ast.ClassDef) -> ast.arguments | None:
    """Return the arguments of a class's own ``__init__``, or of the one that ``@dataclass`` writes."""
    for part in definition.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return part.args
    decorators = [ast.unparse(decorator).partition("(")[0] for decorator in definition.decorator_list]
    if definition.bases or "dataclass" not in decorators:
        return None
    fields = [part for part in definition.body if isinstance(part, ast.AnnAssign)]
    return ast.arguments(
        posonlyargs=[],
        args=[ast.arg("self"), *(ast.arg(ast.unparse(field.target), field.annotation) for field in fields)],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=[field.value for field in fields if field.value is not None],
    )


def _find_class(module: str, name: str, imports_to_follow: int = 3) -> ast.ClassDef | None:
    """Find a class at the top of a module, or of one that it imports the class from."""
    file = _source_file(module)
    for part in ast.parse(file.read_text(encoding="utf-8")).body if file is not None else ():
        if isinstance(part, ast.ClassDef) and part.name == name:
            return part
        if isinstance(part, ast.ImportFrom) and part.module and not part.level and imports_to_follow:
            for alias in part.names:
                if (alias.asname or alias.name) == name:
                    return _find_class(part.module, alias.name, imports_to_follow - 1)
    return None


def _source_file(module: str) -> Path | None:
    package, *inner = module.split(".")
    spec = importlib.util.find_spec(package)  # finding a top-level package does not import it
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder, *inner)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return file
    return None
