"""Images named by a CSV file with their classes and, if wanted, their splits."""

import csv
import io
import os
from pathlib import Path

from mcl.data.labelled_rows import Row, list_rows, split_name
from mcl.data.listed_files import ListedFiles
from mcl.data.listing import Listing, is_image
from mcl.errors import ImagesNotFound, UserError, did_you_mean
from mcl.untrusted.limits import MAX_LABELS
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.text import shorten

FILE, LABEL, SPLIT = "file", "label", "split"


class CsvLabels(ListedFiles):
    """Images that a CSV file lists: ``file,label`` or ``file,label,split`` in its first line, an image in each other.

    Columns may have any order, and others are ignored. Files are named relative to the folder of the CSV file, or by
    absolute paths. Splits are train, val (or validation) and test. Without that column, ``test_fraction`` of each class
    becomes the test split; with train and val alone, val is the test split. Without train, the images can be evaluated
    and not trained on. Fingerprints cover the classes and splits.

    The arguments are those of :class:`mcl.data.listed_files.ListedFiles`; ``root`` is the CSV file.

    Raises:
        UserError: As in `ListedFiles`.
    """

    root_means = "FILE.csv, whose first line is file,label or file,label,split"

    def find_images(self, place: Path, *, test_fraction: float, seed: int) -> tuple[Path, Listing]:
        rows = read_rows(place)
        self.labeling = sorted(rows)
        return place.parent, list_rows(str(place), rows, test_fraction=test_fraction, seed=seed)


def read_rows(file: Path) -> list[Row]:
    """Read a CSV file of images.

    Raises:
        UserError: It is an image or cannot be read, or a line is wrong; the message has its number.
    """
    if not file.is_file():
        is_folder = " It is a folder: dataset=folder reads those." if file.is_dir() else ""
        raise ImagesNotFound(
            f"dataset.root={file}: there is no such file.{is_folder} Give a CSV file of file,label[,split]."
        )
    if is_image(file.name):
        raise UserError(f"{file} is an image. Give the folder of all images, or a CSV file of file,label[,split].")
    try:
        text = read_bytes(file, MAX_LABELS).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = read_bytes(file, MAX_LABELS)[: error.start].count(b"\n") + 1
        raise UserError(f"{file}, line {line}: not UTF-8. Save the file as CSV in UTF-8.") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    folder = os.path.realpath(file.parent)
    seen: dict[str, int] = {}  # by absolute path
    rows: list[Row] = []
    try:
        columns = _columns(file, next(lines, []))
        for cells in lines:
            if not any(cells):
                continue
            row = _row(file, lines.line_num, cells, columns)
            path = os.path.normpath(os.path.join(folder, row.path))
            if path in seen:
                raise UserError(f"{file}, line {lines.line_num}: {row.path} is in line {seen[path]} already.")
            seen[path] = lines.line_num
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{file}, line {lines.line_num}: not CSV ({error}).") from error
    if not rows:
        raise UserError(f"{file} names no image: write one in each line below the first, such as cat/1.jpg,cat.")
    return rows


def _columns(file: Path, header: list[str]) -> dict[str, int]:
    """Return the positions of the columns."""
    names = [name.strip().lower() for name in header]
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and {FILE, LABEL} <= {each.strip(' "') for each in names[0].split(separator)}:
            raise UserError(f"{file}, line 1: {name} separate its columns. Save the file with commas in their place.")
    for name in (FILE, LABEL, SPLIT):
        if names.count(name) > 1 or (name != SPLIT and name not in names):
            shown = shorten(",".join(header)) or "empty"
            fault = "is there twice." if name in names else f"is missing.{did_you_mean(name, names)}"
            raise UserError(
                f"{file}, line 1: must name the columns file,label or file,label,split, but is {shown}: {name} {fault}"
            )
    return {name: names.index(name) for name in (FILE, LABEL, SPLIT) if name in names}


def _row(file: Path, line: int, cells: list[str], columns: dict[str, int]) -> Row:
    where = f"{file}, line {line}"
    if len(cells) <= max(columns.values()):
        raise UserError(f"{where}: {shorten(','.join(cells))} has {len(cells)} of {max(columns.values()) + 1} columns.")
    path, label = (cells[columns[name]].strip() for name in (FILE, LABEL))
    split: str | None = ""
    if not path or not label:
        raise UserError(f"{where}: the {'label' if path else 'file'} is empty.")
    if SPLIT in columns:
        given = cells[columns[SPLIT]]
        split = split_name(given)
        if split is None:
            raise UserError(f"{where}: split {shorten(given)!r}: must be train, val or test.")
    if not os.path.isfile(file.parent / path):
        raise UserError(f"{where}: there is no file {file.parent / path}.")
    return Row(os.path.normpath(path), label, split or "")
