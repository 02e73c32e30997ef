"""Optional packages that only some features need."""

from importlib.util import find_spec

from mcl.errors import UserError

EXTRAS = {  # names of pyproject.toml -> what they bring
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "html": ("plotly", "markdown_it"),
    "dashboard": ("wandb_workspaces",),
}
PLUGINS = {  # of Hydra: choice -> its extra
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "search",
}


def require(extra: str, *, asked: str) -> None:
    """Raise UserError when the packages of an extra are not installed. What is no extra comes with mcl.

    Args:
        extra: its name.
        asked: the option or command that needs it, as typed.
    """
    missing = [name for name in EXTRAS.get(extra, ()) if find_spec(name) is None]
    if missing:
        raise UserError(f"{asked}: needs {', '.join(missing)}. Install it with: pip install 'mcl[{extra}]'.")


def missing_plugin(choice: str) -> str | None:
    """What to tell of a choice that Hydra did not find: the extra that brings its plugin, None for none of `PLUGINS`.

    Args:
        choice: with its group, such as ``hydra/launcher/ray``.
    """
    extra = PLUGINS.get(choice)
    group, _, name = choice.rpartition("/")
    return extra and f"{group}={name} comes with a plugin of Hydra. Install it with: pip install 'mcl[{extra}]'."
