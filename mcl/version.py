"""Versions of the code and its libraries, stored with every result."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mcl


def code_version() -> dict[str, Any]:
    """Return ``{"version", "commit", "dirty"}``; commit and dirty are None outside a git checkout of the project."""
    root = Path(__file__).resolve().parents[1]
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    dirty = None if commit is None else bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    return {"version": mcl.__version__, "commit": commit, "dirty": dirty}


def library_versions() -> dict[str, str]:
    """Return the versions of ``{"python", "torch", "numpy"}``."""
    return {"python": platform.python_version(), "torch": version("torch"), "numpy": version("numpy")}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
