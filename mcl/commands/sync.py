"""``python -m mcl sync``: upload offline runs to Weights & Biases."""

import argparse
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mcl.commands.arguments import add_place, study_at
from mcl.runs.layout import WANDB
from mcl.runs.reading import find_runs
from mcl.untrusted.limits import MAX_METRICS
from mcl.untrusted.regular_files import read_bytes

HELP = "Upload the W&B files of a run, a folder of runs or a study that were written offline."
EPILOG = """\
PLACE is a run folder, any folder with run folders below it, or a study's folder:

  python -m mcl sync runs/digits/resnet8/lmcl/73f50a34ac
  python -m mcl sync runs
  python -m mcl sync experiments/quickstart

Files uploaded before are skipped, and so are runs that are still training or that were moved before they were
uploaded. Successive attempts at one run become one run there."""

LOGS = "logs"  # W&B's own, which are not uploaded; one is a link into the home folder
STAGING = re.compile(  # where `mcl.tracking` lets W&B keep copies of tables
    rb'(/[^\x00-\x1f"]{0,4096})' + f"/{WANDB}/data/artifacts/staging/".encode()
)
MOVED = (
    "it was moved since W&B wrote it. W&B looks for the copies of its tables in the old place, and would leave them out"
    " without an error. Move it back, or make a link to it there, and name the link."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``sync``."""
    add_place(parser)
    parser.add_argument("--dry-run", action="store_true", help="only print what would be uploaded")


def run(arguments: argparse.Namespace) -> int:
    """Pass the offline files to ``wandb sync``; return its exit status."""
    import subprocess
    import sys

    import wandb

    from mcl.console import display_path
    from mcl.errors import UserError
    from mcl.runs.lock import holder
    from mcl.untrusted.regular_files import refuse_outside_links

    place = arguments.place
    if not place.is_dir():
        raise UserError(f"{place}: there is no such folder.")
    found = list(offline_runs(_places(place, arguments.runs)))
    if not found:
        raise UserError(f"{place}: no run here was tracked by W&B offline.")
    skipped: dict[Path, str] = {}
    for folder in found:
        run = folder.parents[1]
        if run not in skipped and (process := holder(run)) is not None:
            skipped[run] = f"in use by {process}."  # `wandb sync` would skip later what the run has yet to write
        elif run not in skipped and _was_moved(folder):
            skipped[run] = MOVED
    for run, reason in sorted(skipped.items()):
        print(f"{display_path(run)} is skipped: {reason}", flush=True)
    folders = [folder for folder in found if folder.parents[1] not in skipped]
    if not folders:
        return 0
    for folder in folders:  # uploads what links lead to
        uploaded = (entry.name for entry in folder.iterdir() if entry.name != LOGS)
        refuse_outside_links(folder.parent, [f"{folder.name}/{name}" for name in uploaded])
    if not arguments.dry_run and not wandb.login(prompt=False, verify=False):
        raise UserError("W&B: not logged in. To log in: wandb login")
    options = ["--dry-run"] if arguments.dry_run else []
    safe = {**os.environ, "PYTHONSAFEPATH": "1"}  # import nothing from the working folder, which may be a received one
    command = [sys.executable, "-m", "wandb", "sync", *options, *map(str, folders)]
    return subprocess.run(command, env=safe).returncode


def offline_runs(places: Iterable[Path]) -> Iterator[Path]:
    """Yield the folders that W&B wrote offline below these places, oldest first within each."""
    for place in places:
        runs = find_runs(place) if place.is_dir() else []
        yield from sorted(
            {file.parent for run in runs for file in run.glob(f"{WANDB}/offline-run-*/*.wandb")},
            key=lambda at: at.name,
        )


def _was_moved(folder: Path) -> bool:
    """Return whether W&B, which stores absolute paths, looks for copies of a run's tables in another run folder."""
    files = list(folder.glob("*.wandb"))
    if all(file.with_name(f"{file.name}.synced").exists() for file in files):
        return False
    content = b"".join(read_bytes(file, MAX_METRICS) for file in files)
    places = {found[1].lstrip(b"/") for found in STAGING.finditer(content)}
    run = folder.parents[1]
    own = [os.fsencode(path) for path in (run.absolute(), run.resolve())]
    # Only the end of a path is whole where W&B's format divides it into two blocks.
    return bool(places) and not any(path.endswith(place) for path in own for place in places)


def _places(place: Path, runs: Path | None) -> list[Path]:
    study = study_at(place, runs)
    if study is None:
        return [place]
    if study.search is not None:
        from mcl.reports.search_report import find_trials

        return [trial.folder for trial, _ in find_trials(study)]
    return [planned.folder for planned in (*study.teachers, *study.runs)]
