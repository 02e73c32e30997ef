"""Exports of a package whose files are imported on first use, so that importing the package does not load torch."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_exports(package: str, exports: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: Its ``__name__``.
        exports: The names that each of its files exports, such as ``{"job": ["Job", "Outcome"]}``.
    """
    files = {name: file for file, names in exports.items() for name in names}

    def get(name: str) -> Any:
        if name not in files:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{files[name]}"), name)

    return get
