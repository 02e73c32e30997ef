"""``python -m mcl sync``: upload to Weights & Biases what was logged offline."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

HELP = "Upload the W&B files of a run, a sweep or a study that were written offline."
EPILOG = """\
PLACE is a run folder, any folder with run folders below it, or a study's folder:

  python -m mcl sync runs/digits/resnet8/lmcl/fb57d5663a
  python -m mcl sync runs
  python -m mcl sync experiments/quickstart

What has been uploaded before is left out. Attempts at one run, one after another, become one run there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after ``sync``."""
    parser.add_argument("place", type=Path, metavar="PLACE", help="folder of a run, of runs, or of a study")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="where a study has its runs; default: as it says")
    parser.add_argument("--dry-run", action="store_true", help="say what would be uploaded, and upload nothing")


def run(arguments: argparse.Namespace) -> int:
    """Hand the files that are found to ``wandb sync``, whose exit status this is."""
    import subprocess
    import sys

    import wandb

    from mcl.errors import UserError

    place = arguments.place
    if not place.is_dir():
        raise UserError(f"{place}: there is no such folder.")
    if arguments.runs is not None and not (place / "study.yaml").is_file():
        raise UserError(f"--runs {arguments.runs}: only a study's folder has its runs elsewhere; {place} is none.")
    found = list(offline_runs(_places(place, arguments.runs)))
    if not found:
        raise UserError(f"{place}: no run here was tracked by W&B offline.")
    if not arguments.dry_run and not wandb.login(prompt=False, verify=False):
        raise UserError("W&B: not logged in. To log in: wandb login")
    options = ["--dry-run"] if arguments.dry_run else []
    return subprocess.run([sys.executable, "-m", "wandb", "sync", *options, *map(str, found)]).returncode


def offline_runs(places: Iterable[Path]) -> Iterator[Path]:
    """Folders below these that W&B wrote offline, oldest first within each place."""
    for place in places:
        yield from sorted(
            {file.parent for file in place.glob("**/wandb/offline-run-*/*.wandb")}, key=lambda at: at.name
        )


def _places(place: Path, runs: Path | None) -> list[Path]:
    if not (place / "study.yaml").is_file():
        return [place]
    from mcl.reports.search_report import find_trials
    from mcl.studies.study import load_study

    study = load_study(place, [f"runs={runs}"] if runs else [])
    if study.search is not None:
        return [trial.folder for trial, _ in find_trials(study)]
    return [planned.folder for planned in study.runs]
