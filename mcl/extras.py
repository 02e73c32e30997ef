"""Optional packages that only some features need."""

from collections.abc import Sequence
from importlib.util import find_spec

from mcl.errors import UserError

EXTRAS = {  # extra of pyproject.toml -> its packages
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "html": ("plotly", "markdown_it"),
    "dashboard": ("wandb_workspaces",),
    "pandas": ("pandas",),
}
PLUGINS = {  # Hydra plugin: choice -> extra
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "search",
}


def require(extra: str, *, asked: str) -> None:
    """Raise UserError if the packages of an extra are not installed.

    Args:
        extra: its name; a name that is not an extra needs nothing.
        asked: the option or command that needs it.
    """
    missing = [name for name in EXTRAS.get(extra, ()) if find_spec(name) is None]
    if missing:
        raise UserError(f"{asked}: needs {', '.join(missing)}. Install it with: pip install 'mcl[{extra}]'.")


def missing_plugin(choice: str, typed: Sequence[str] = ()) -> str | None:
    """Return which extra to install for a choice that Hydra did not find; None if it is not one of `PLUGINS`.

    Args:
        choice: with its group, such as ``hydra/launcher/ray``.
        typed: the overrides of the command line: the choice may be the base of the one that was typed.
    """
    extra = PLUGINS.get(choice)
    group, _, name = choice.rpartition("/")
    given = next((text for text in typed if text.startswith(f"{group}=")), f"{group}={name}")
    return extra and f"{given} needs a plugin of Hydra. Install it with: pip install 'mcl[{extra}]'."
