"""The image files of a folder, in the splits and classes that ``dataset=folder`` gives them."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mcl.data.listing import SPLITS, Files, images_below, is_image, list_folder
from mcl.errors import UserError

TRAIN, VALIDATION, TEST, ALL = "train", "validation", "test", "all"  # all: the splits could not be made out
TEST_FRACTION, SEED = 0.2, 0  # the defaults of dataset=folder


@dataclass(frozen=True)
class InspectedFiles:
    """Image files with their splits and classes, in the order of the splits.

    Attributes:
        root: the folder.
        paths: relative to ``root``.
        splits, classes: names, one for each path.
        refused: why ``dataset=folder`` does not take the folder; empty if it does.
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


def find_files(root: Path) -> InspectedFiles:
    """Find the images below a folder. A folder that ``dataset=folder`` refuses is read by the names of its folders.

    Raises:
        UserError: There is no such folder, or no image in it.
    """
    root = Path(os.path.abspath(root.expanduser()))
    if not root.is_dir():
        raise UserError(
            f"{root}: there is no such folder. Give the folder of your images: python -m mcl inspect FOLDER."
        )
    found, ignored = images_below(root, root), _other_files(root)
    if not found:
        others = ", ".join(f"{count:,} {name}" for name, count in ignored.items()) or "no files"
        raise UserError(f"{root}: there is no image in this folder, but {others}.")
    try:
        listing = list_folder(root, test_fraction=TEST_FRACTION, seed=SEED)
    except UserError as error:
        names = [_by_folders(path) for path in found]
        return InspectedFiles(
            root, found, [split for split, _ in names], [name for _, name in names], str(error), "", ignored
        )
    parts: dict[str, Files] = {TRAIN: listing.train, TEST: listing.test}
    if listing.validation:
        parts = {TRAIN: listing.train, VALIDATION: listing.validation, TEST: listing.test}
    paths = [path for files in parts.values() for path in files.paths]
    return InspectedFiles(
        root,
        paths,
        [split for split, files in parts.items() for _ in files.paths],
        [listing.classes[label] for files in parts.values() for label in files.labels.tolist()],
        "",
        _note(listing.train, listing.test, len(found) - len(paths)),
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


def _note(train: Files, test: Files, unused: int) -> str:
    notes = []
    folder = test.paths[0].split(os.sep)[0]
    if folder == train.paths[0].split(os.sep)[0] or folder.lower() not in SPLITS:
        notes.append("test is a fifth of each class, drawn at random (dataset.test_fraction, dataset.seed)")
    elif SPLITS[folder.lower()] != TEST:
        notes.append(f"{folder}/ is the test split, since there is no other")
    if unused > 0:
        notes.append(f"{unused:,} images lie outside these splits and are not used")
    return "; ".join(notes)
