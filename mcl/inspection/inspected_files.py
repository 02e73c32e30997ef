"""The image files of a folder or CSV file, in the splits and classes that training gives them."""

import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mcl.data.csv_labels import read_rows
from mcl.data.labelled_rows import list_rows
from mcl.data.listing import SPLITS, Files, images_below, is_image, list_folder
from mcl.errors import UserError
from mcl.files import expand_home

TRAIN, VALIDATION, TEST, ALL = "train", "validation", "test", "all"  # all: the splits could not be made out
TEST_FRACTION, SEED = 0.2, 0  # the defaults of dataset=folder


@dataclass(frozen=True)
class InspectedFiles:
    """Image files with their splits and classes, in the order of the splits.

    Attributes:
        root: the folder that the paths start from.
        paths: relative to ``root``.
        splits, classes: names, one for each path.
        refused: why training does not take the images; empty if it does.
        note: what is special about the splits; empty if nothing is.
        ignored: number of other files by extension.
    """

    root: Path
    paths: list[str]
    splits: list[str]
    classes: list[str]
    refused: str
    note: str
    ignored: dict[str, int]


def find_files(place: Path) -> InspectedFiles:
    """Find the images of a folder, or those that a CSV file lists (`mcl.data.csv_labels`).

    Images that training refuses are read by the names of their folders, or by the lines of the file.

    Raises:
        UserError: There is no such folder or file, no image in it, or the CSV file is wrong.
    """
    place = Path(os.path.abspath(expand_home(place)))
    if place.is_file():
        rows = read_rows(place)
        named = [(row.path, row.split or ALL, row.label) for row in rows]
        root, ignored, read = place.parent, {}, partial(list_rows, str(place), rows)
    elif place.is_dir():
        paths, ignored = images_below(place, place), _other_files(place)
        if not paths:
            others = ", ".join(f"{count:,} {name}" for name, count in ignored.items()) or "no files"
            raise UserError(f"{place}: there is no image in this folder, but {others}.")
        named = [(path, *_by_folders(path)) for path in paths]
        root, read = place, partial(list_folder, place)
    else:
        raise UserError(f"{place}: there is no such folder. Give that of your images: python -m mcl inspect FOLDER.")
    try:
        listing = read(test_fraction=TEST_FRACTION, seed=SEED)
        if listing.untrainable:
            raise UserError(listing.untrainable)
    except UserError as error:
        paths, splits, classes = ([row[column] for row in named] for column in range(3))
        return InspectedFiles(root, paths, splits, classes, str(error), "", ignored)
    parts: dict[str, Files] = {TRAIN: listing.train, TEST: listing.test}
    if listing.validation:
        parts = {TRAIN: listing.train, VALIDATION: listing.validation, TEST: listing.test}
    paths = [path for files in parts.values() for path in files.paths]
    given = {path: split for path, split, _ in named}
    return InspectedFiles(
        root,
        paths,
        [split for split, files in parts.items() for _ in files.paths],
        [listing.classes[label] for files in parts.values() for label in files.labels.tolist()],
        "",
        _note(given[listing.train.paths[0]], given[listing.test.paths[0]], len(named) - len(paths)),
        ignored,
    )


def _other_files(root: Path) -> dict[str, int]:
    """Return the number of files that are no images, by extension, the most frequent first. No link is followed."""
    ignored = Counter[str]()
    for _, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        ignored.update(os.path.splitext(name)[1] or "without extension" for name in names if not is_image(name))
    return dict(ignored.most_common())


def _by_folders(path: str) -> tuple[str, str]:
    """Return split and class of a file from the names of the first folders of its path."""
    *folders, _ = path.split(os.sep)
    split = ALL
    if folders and folders[0].lower() in SPLITS:
        split = SPLITS[folders.pop(0).lower()]
    return split, folders[0] if folders else "(none)"


def _note(train: str, test: str, unused: int) -> str:
    """Return what is special, from the splits that folders or lines give to a training and a test image."""
    notes = []
    if train == test:
        notes.append("test is a fifth of each class, drawn at random (dataset.test_fraction, dataset.seed)")
    elif test == VALIDATION:
        notes.append("val is the test split, since there is no other")
    if unused > 0:
        notes.append(f"{unused:,} images lie outside these splits and are not used")
    return "; ".join(notes)
