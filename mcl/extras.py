"""Optional packages that only some features need."""

import shlex
from collections.abc import Iterable, Sequence
from importlib.util import find_spec

from mcl.errors import UserError

# Messages name these packages, not an extra of this project: it is on no package index.
EXTRAS = {  # extra of pyproject.toml -> module: requirement
    "onnx": {"onnx": "onnx>=1.17", "onnxscript": "onnxscript>=0.3", "onnxruntime": "onnxruntime>=1.20"},
    "html": {"plotly": "plotly>=6", "markdown_it": "markdown-it-py>=3"},
    "dashboard": {"wandb_workspaces": "wandb-workspaces>=0.4.13"},
    "pandas": {"pandas": "pandas>=2"},
    "tensorboard": {"tensorboard": "tensorboard>=2.14"},
    "mlflow": {"mlflow": "mlflow>=3.1"},
    "hub": {"huggingface_hub": "huggingface-hub>=0.34"},
    "hf": {"datasets": "datasets>=3"},
    "heic": {"pillow_heif": "pillow-heif>=0.18"},
    "timm": {"timm": "timm>=1.0.20,<2"},
    "search": {"optuna": "optuna>=4,<5"},
}
_SLURM = ("hydra-submitit-launcher>=1.2,<2",)
PLUGINS = {  # Hydra plugin: choice -> requirements
    "hydra/launcher/joblib": ("hydra-joblib-launcher>=1.2,<2",),
    "hydra/launcher/submitit_slurm": _SLURM,
    "hydra/launcher/submitit_local": _SLURM,
    "hydra/launcher/ray": ("hydra-ray-launcher>=1.2.2,<2", "ray[default]>=2.9,<3"),
}


def require(extra: str, *, asked: str) -> None:
    """Raise UserError if the packages of an extra are not installed.

    Args:
        extra: its name; a name that is not an extra needs nothing.
        asked: the option or command that needs it.
    """
    missing = {module: needed for module, needed in EXTRAS.get(extra, {}).items() if find_spec(module) is None}
    if missing:
        raise UserError(f"{asked}: needs {', '.join(missing)}. {_install(missing.values())}")


def missing_plugin(choice: str, typed: Sequence[str] = ()) -> str | None:
    """Return what to install for a choice that Hydra did not find; None if it is not one of `PLUGINS`.

    Args:
        choice: with its group, such as ``hydra/launcher/ray``.
        typed: the overrides of the command line: the choice may be the base of the one that was typed.
    """
    needed = PLUGINS.get(choice)
    group, _, name = choice.rpartition("/")
    given = next((text for text in typed if text.startswith(f"{group}=")), f"{group}={name}")
    return f"{given} needs a plugin of Hydra. {_install(needed)}" if needed else None


def _install(requirements: Iterable[str]) -> str:
    return f"Install it with: pip install {shlex.join(requirements)}."
