"""Find the folders of YAML files: that of the project, and the user's own beside it."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery

from mcl.program import ROOT, in_checkout

OWN = "conf"  # in the working folder; `python -m mcl init` makes one


def data_folder() -> Path:
    """Return the folder that holds ``conf`` and ``experiments``: the checkout, or the installed package."""
    return ROOT if in_checkout() else Path(str(files("mcl")))


def conf_folder() -> Path:
    """Return ``conf`` of the project."""
    return data_folder() / "conf"


def own_conf_folder() -> Path | None:
    """Return ``conf`` of the working folder if it has choices of the user's own; None if there is none.

    It counts if it has a folder named as one of the project's groups, such as ``conf/loss``.
    """
    folder = Path.cwd() / OWN
    if not folder.is_dir() or folder.samefile(conf_folder()):
        return None
    groups = {each.name for each in conf_folder().iterdir() if each.is_dir() and each.name != "hydra"}
    return folder if any(each.name in groups and each.is_dir() for each in folder.iterdir()) else None


def conf_folders() -> list[Path]:
    """Return all of them, the project's first, as Hydra searches them."""
    own = own_conf_folder()
    return [conf_folder()] if own is None else [conf_folder(), own]


def own_conf_flags(words: Sequence[str]) -> list[str]:
    """Return the flag that adds the user's own folder to a command line, unless it names another one."""
    own = own_conf_folder()
    named = any(word.partition("=")[0] in ("--config-dir", "-cd") for word in words)
    return [] if own is None or named else [f"--config-dir={own}"]


def add_own_conf(search_path: ConfigSearchPath) -> ConfigSearchPath:
    """Add the user's own folder to a search path where ``--config-dir`` would, and return the path."""
    own = own_conf_folder()
    if own is not None:
        search_path.prepend("command-line", f"file://{own}", anchor=SearchPathQuery(provider="schema"))
    return search_path
