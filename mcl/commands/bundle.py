"""``python -m mcl bundle``: pack a run into one archive."""

import argparse
from pathlib import Path

from mcl.commands.arguments import add_run, check_out
from mcl.errors import UserError

HELP = "Pack a run into one file that anyone can evaluate: settings, numbers, networks, hashes."
EPILOG = "python -m mcl evaluate, export and predict, and mcl.load, take the file in place of the run folder."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``bundle``."""
    add_run(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: named after the folder, with .zip, here")


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle and list its contents."""
    from mcl.deploy.bundle import write_bundle
    from mcl.deploy.saved_run import SavedRun

    check_out(arguments.out, is_file=True)
    saved = SavedRun(arguments.run, allow=arguments.allow, allow_older=arguments.allow_older)
    path = arguments.out or Path(f"{arguments.run.resolve().name}.zip")
    if arguments.out is None and path.exists() and _hash(path, arguments.allow) != saved.hash:
        raise UserError(f"{path} is here already, and is not a bundle of this run. Name the file with --out FILE.")
    names = write_bundle(saved, path)
    print(f"{path}  {path.stat().st_size / 1e6:.2f} MB: {', '.join(names)}")
    return 0


def _hash(path: Path, allow: list[str]) -> str | None:
    """Return the hash of the run in a bundle; None of a file that is no bundle."""
    from mcl.deploy.saved_run import SavedRun

    try:
        return SavedRun(path, allow=allow).hash
    except UserError:
        return None
