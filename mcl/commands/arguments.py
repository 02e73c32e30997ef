"""Arguments that several commands share."""

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mcl.errors import UserError

if TYPE_CHECKING:
    from mcl.studies.study import Study


def add_run(parser: argparse.ArgumentParser, metavar: str = "RUN", help: str = "run folder, bundle or release") -> None:
    """Add the run to read, ``--allow`` and ``--allow-older``."""
    parser.add_argument("run", type=Path, metavar=metavar, help=help)
    parser.add_argument(
        "--allow", action="append", default=[], metavar="MODULE", help="a module of yours that RUN may build from"
    )
    parser.add_argument(
        "--allow-older", action="store_true", help="take an older checkpoint if the newest is damaged or missing"
    )


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add ``--weights``."""
    parser.add_argument(
        "--weights",
        choices=["last", "best"],
        default="last",
        help="of the end of training, or of the best epoch; default: %(default)s",
    )


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add a folder of runs or of a study, and ``--runs``."""
    parser.add_argument("place", type=Path, metavar="PLACE", help="folder of a run, of runs, or of a study")
    parser.add_argument(
        "--runs", type=Path, metavar="FOLDER", help="folder of a study's runs; default: the one in study.yaml"
    )


def study_at(place: Path, runs: Path | None) -> "Study | None":
    """Return the study of a folder, or None if it has no ``study.yaml``.

    Raises:
        UserError: ``--runs`` was given, but the folder is not a study's.
    """
    if not (place / "study.yaml").is_file():
        if runs is not None:
            raise UserError(f"--runs {runs}: only a study's folder has its runs elsewhere; {place} is not one.")
        return None
    from mcl.studies.study import load_study

    return load_study(place, [f"runs={runs}"] if runs else [])


def check_out(out: Path | None, *, is_file: bool = False, option: str = "--out ") -> None:
    """Raise UserError if nothing can be written to ``--out``, before any work is done.

    Args:
        out: a folder, which need not exist; None passes.
        is_file: it is a file in a folder that must exist.
        option: how it was typed.
    """
    if out is None:
        return
    if is_file and out.is_dir():
        raise UserError(f"{option}{out}: this is a folder. Give the name of a file, such as {out / 'run.zip'}.")
    folder = out.absolute().parent if is_file else out.absolute()
    if is_file and not folder.exists():
        raise UserError(f"{option}{out}: there is no folder {folder}.")
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"{option}{out}: {folder} is a file, not a folder.")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"{option}{out}: {folder} cannot be written to ({error.strerror}). Give another place."
        ) from error


def require_at_least(least: int, option: str, value: int | None) -> None:
    """Raise UserError if a number was given that is too small."""
    if value is not None and value < least:
        raise UserError(f"{option} {value}: must be at least {least}.")
