"""How the programs are typed: ``python train.py`` in a checkout, ``mcl train`` where only the package is installed."""

import functools
from pathlib import Path

from mcl.torchrun import rank

ROOT = Path(__file__).resolve().parents[1]  # of the checkout, or where packages are installed


@functools.cache
def in_checkout() -> bool:
    """Return whether the package lies in a checkout of the project."""
    return all((ROOT / name).is_file() for name in ("train.py", "sweep.py", "conf/train.yaml"))


def program(name: str) -> str:
    """Return how a program is typed in messages and reports.

    Args:
        name: ``"train"`` or ``"sweep"``.
    """
    return f"python {name}.py" if in_checkout() else f"mcl {name}"


def start(name: str) -> list[str]:
    """Return the words after ``python`` that start a program from any folder."""
    return [str(ROOT / f"{name}.py")] if in_checkout() else ["-m", "mcl", name]


def is_first_process() -> bool:
    """Return whether this process prints for its run: it is alone, or torchrun's first."""
    return rank() == 0


def is_installed(folder: Path) -> bool:
    """Return whether a folder belongs to an installed package, in which nothing is written."""
    return not in_checkout() and folder.resolve().is_relative_to(ROOT / "mcl")
