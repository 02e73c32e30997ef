"""Packages that only some features need, and that not everybody installs."""

from importlib.util import find_spec

from mcl.errors import UserError

EXTRAS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}  # names of pyproject.toml -> what they bring


def require(extra: str, *, asked: str) -> None:
    """Raise UserError when the packages of an extra are not installed. What is no extra comes with mcl.

    Args:
        extra: its name.
        asked: the option or command that needs it, as typed.
    """
    missing = [name for name in EXTRAS.get(extra, ()) if find_spec(name) is None]
    if missing:
        raise UserError(f"{asked}: needs {', '.join(missing)}. Install it with: pip install 'mcl[{extra}]'.")
