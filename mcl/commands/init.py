"""``python -m mcl init``: a network, a loss and a dataset of your own to start from, with their files of ``conf/``."""

import argparse
import shlex
import shutil
from importlib.resources import files
from pathlib import Path

from mcl.errors import UserError

HELP = "Write an example network, loss and dataset of your own, and conf/ that names them."
EPILOG = """\
my_parts.py holds the classes, conf/ the files that name them and set their options. Both are yours to edit. The
folder conf/ is found from the folder that it lies in; from elsewhere, add --config-dir FOLDER/conf."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``init``."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="default: this folder")


def run(arguments: argparse.Namespace) -> int:
    """Copy the files; replace none."""
    source = Path(str(files("mcl.commands"))) / "starter"
    names = sorted(path.relative_to(source) for suffix in ("*.py", "*.yaml") for path in source.rglob(suffix))
    present = [arguments.folder / name for name in names if (arguments.folder / name).exists()]
    if present:
        raise UserError(f"{', '.join(map(str, present))}: exists already, and is not replaced. Give another FOLDER.")
    for name in names:
        (arguments.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, arguments.folder / name)
        print(arguments.folder / name)
    enter = "" if arguments.folder == Path() else f"cd {shlex.quote(str(arguments.folder))} && "
    print(f"\nTrain them:  {enter}mcl train experiment=mine")
    return 0
