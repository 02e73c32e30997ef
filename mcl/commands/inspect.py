"""``python -m mcl inspect``: what is in a folder of images, before training on it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcl.inspection.sections import Section

HELP = "What is in a folder of images: classes, sizes, damaged files, copies, pictures in both train and test."
EPILOG = """\
Reads a folder as dataset=folder does, and a CSV file as dataset=csv does. Pictures are compared by their pixels and by
a hash of their coarse structure, so that a copy of another size or compression is found. A mirrored, turned or cropped
copy is not. The status is 0 whatever is found, and 1 if no image can be read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``inspect``."""
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="the folder: FOLDER/CLASS/* or FOLDER/train/CLASS/*"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures; needs the extra html")
    parser.add_argument("--list", type=Path, metavar="FILE", help="write each file of each finding, as CSV")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a few pictures of each class, as PNG")
    parser.add_argument(
        "--distance",
        type=int,
        default=4,
        metavar="BITS",
        help="by how many of 64 bits nearly equal pictures may differ, 0 to 12; -1: equal pixels alone; default: 4",
    )


def run(arguments: argparse.Namespace) -> int:
    """Inspect the folder, print the result and write the files that were asked for."""
    from mcl.commands.arguments import check_out
    from mcl.errors import UserError
    from mcl.extras import require
    from mcl.inspection.duplicates import MAX_DISTANCE

    if not -1 <= arguments.distance <= MAX_DISTANCE:
        raise UserError(f"--distance {arguments.distance}: must be from -1 to {MAX_DISTANCE}.")
    outputs = {"--json": arguments.json, "--html": arguments.html, "--list": arguments.list, "--sheet": arguments.sheet}
    for option, out in outputs.items():
        check_out(out, is_file=True, option=f"{option} ")
        if out is not None and out.is_file() and arguments.folder.is_file() and out.samefile(arguments.folder):
            raise UserError(f"{option} {out}: this is the file to inspect, and would be lost. Give another name.")
    if arguments.html:
        require("html", asked="--html")

    from mcl.files import write_atomically
    from mcl.inspection.inspection import inspect_images
    from mcl.inspection.problems import findings
    from mcl.inspection.records import as_csv, as_json
    from mcl.inspection.sections import CLASSES, sections
    from mcl.inspection.sheet import class_sheet

    inspection = inspect_images(arguments.folder, arguments.distance)
    found = findings(inspection)
    _print(sections(inspection, found, CLASSES))
    if arguments.json:
        write_atomically(arguments.json, as_json(inspection, found))
    if arguments.list:
        write_atomically(arguments.list, as_csv(inspection, found).encode(errors="surrogateescape"))
    if arguments.sheet:
        write_atomically(arguments.sheet, class_sheet(inspection))
    if arguments.html:
        from mcl.inspection.page import inspection_page

        write_atomically(arguments.html, inspection_page(inspection, found))
    return 0


def _print(printed: "Iterable[Section]") -> None:
    from mcl.console import make_console, plain_table, print_table

    console = make_console()
    for section in printed:
        console.print(section.title, style="bold")
        for line in section.lines:
            console.print(f"- {line}")
        if section.rows:
            table = plain_table(section.headers[0], numbers=section.headers[1:])
            for row in section.rows:
                table.add_row(*row)
            print_table(console, table)
        console.print()
