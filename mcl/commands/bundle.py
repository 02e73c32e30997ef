"""``python -m mcl bundle``: one archive that holds a run."""

import argparse
from pathlib import Path

HELP = "Pack a run into one file that anyone can evaluate: settings, numbers, networks, hashes."
EPILOG = "python -m mcl evaluate, export and predict, and mcl.load, take the file in place of the run folder."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after ``bundle``."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: named after the folder, with .zip, here")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="MODULE", help="a module of yours that RUN may build from"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle and say what is in it."""
    from mcl.deploy.bundle import write_bundle
    from mcl.deploy.saved_run import SavedRun

    saved = SavedRun(arguments.run, allow=arguments.allow)
    path = arguments.out or Path(f"{arguments.run.resolve().name}.zip")
    names = write_bundle(saved, path)
    print(f"{path}  {path.stat().st_size / 1e6:.2f} MB: {', '.join(names)}")
    return 0
