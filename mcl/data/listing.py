"""List trees of class folders. No image is opened."""

import os
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.console import pluralize, summarize
from mcl.data.dataset import require_two_images, split
from mcl.errors import ImagesNotFound, UserError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif"),
    *(".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
)
_TRAIN, _VALIDATION, _TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")
SPLITS = {  # name of a folder, in small letters -> its split
    name: split for split, names in (("train", _TRAIN), ("validation", _VALIDATION), ("test", _TEST)) for name in names
}


class Files(NamedTuple):
    """Files of one split, class by class."""

    paths: list[str]  # relative to the root
    labels: Tensor  # (N,) int64

    def take(self, indices: Tensor) -> "Files":
        """Return the files at ``indices``."""
        return Files([self.paths[index] for index in indices.tolist()], self.labels[indices])


class Listing(NamedTuple):
    """The classes and files of a dataset on disk."""

    classes: tuple[str, ...]
    train: Files  # empty if there are only images to evaluate
    test: Files
    validation: Files | None
    untrainable: str = ""  # why nothing can be trained on these images; empty if it can
    drawn: bool = False  # whether the test split was drawn from the images, by ``test_fraction``

    @property
    def splits(self) -> list[Files]:
        """Return the splits that have images."""
        return [files for files in (self.train, self.test, self.validation) if files is not None and files.paths]


def list_folder(root: Path, *, test_fraction: float, seed: int, last: bool = False) -> Listing:
    """Find the splits and classes below ``root``.

    Two layouts are understood. In the first, ``root`` has a train/ folder and one or both of val|valid|validation/ and
    test/ (if both, the former is the validation split), each with class folders. In the second, ``root`` has the class
    folders, and ``test_fraction`` of each class becomes the test split. Without train/, or with ``test_fraction=1``,
    the images can be evaluated and not trained on. Images may be at any depth below their class folder. With ``last``,
    the class is instead the name of the folder that contains an image, at any depth. Classes are sorted by name.
    Ignored are files without an image's extension, hidden files and folders, and links to a folder that contains them.

    Raises:
        UserError: ``root`` has neither layout; the message describes the difference.
    """
    require_folder(root)
    by_name = {folder.name.lower(): folder for folder in _folders(root)}
    train, validation, test = (
        next((by_name[name] for name in names if name in by_name), None) for names in (_TRAIN, _VALIDATION, _TEST)
    )
    parts = [part for part in (train, test, validation) if part]
    if not parts:
        members = _members(root, root, last)
        return draw_test(tuple(members), _files(root, members), test_fraction, seed)
    if parts == [train]:
        raise UserError(
            f"dataset.root={root} has {parts[0].name}/ but no test split: val/, valid/, validation/ or test/. "
            f"Add one; or use dataset.root={parts[0]} to split dataset.test_fraction from it; or, if {parts[0].name} is"
            " a class, rename its folder."
        )
    first = parts[0]
    by_part = {first: _members(root, first, last)}
    by_part |= {part: _spelled_as(by_part[first], _members(root, part, last)) for part in parts[1:]}
    if train and test and validation and not by_part[test].keys() & by_part[train].keys():
        test = None  # some benchmarks have a test split without labels: its folders are no classes
    if test is None:
        test, validation = validation, None
    assert test
    classes = tuple(by_part[first])

    def files_of(part: Path) -> Files:
        require_same_classes(root, first.name, classes, part.name, list(by_part[part]))
        return _files(part, by_part[part])

    if train is None:
        untrainable = (
            f"dataset.root={root} has {first.name}/ but no train/ folder. Add one or, if {first.name} is a class,"
            " rename its folder."
        )
        if not classes:
            raise UserError(untrainable)
        return test_alone(classes, files_of(test), files_of(validation) if validation else None, untrainable)
    return Listing(classes, files_of(train), files_of(test), files_of(validation) if validation else None)


def draw_test(classes: tuple[str, ...], files: Files, test_fraction: float, seed: int, *, source: str = "") -> Listing:
    """Draw the test split from files without splits; ``test_fraction=1`` takes them all.

    Args:
        classes, files: the classes and their files.
        test_fraction, seed: which part of each class becomes the test split.
        source: beginning of the message for a class of one image.

    Raises:
        UserError: ``test_fraction`` is out of its range, or a class cannot be split.
    """
    option = f"dataset.test_fraction={test_fraction}"
    if not 0 < test_fraction <= 1:
        raise UserError(f"{option}: must be a fraction above 0 and below 1, or 1 to evaluate all images.")
    if test_fraction == 1:
        return test_alone(classes, files, None, f"{option}: leaves no image to train on. Use a fraction below 1.")
    require_two_images(classes, files.labels.bincount().tolist(), f"{source}{option}")
    rest, held_out = split(files.labels, test_fraction, stream="test", seed=seed)
    return Listing(classes, files.take(rest), files.take(held_out), None, drawn=True)


def test_alone(classes: tuple[str, ...], test: Files, validation: Files | None, untrainable: str) -> Listing:
    """List images that can be evaluated and not trained on; ``untrainable`` is the reason."""
    return Listing(classes, test.take(torch.empty(0, dtype=torch.int64)), test, validation, untrainable)


def unused_splits(root: Path, listing: Listing) -> list[str]:
    """Return a note if a folder is named like a split and none of its images are used, such as Train/ beside train/."""
    used = list(dict.fromkeys(Path(files.paths[0]).parts[0] for files in listing.splits))
    others = [folder.name for folder in _folders(root) if folder.name.lower() in SPLITS and folder.name not in used]
    if not others:
        return []
    return [f"{root}: the splits are {summarize(used)}; not used: {summarize(others)}."]


def nested_folders(root: Path, listing: Listing) -> list[str]:
    """Return a note if the classes are folders whose images all lie in several subfolders of their own."""
    paths = listing.splits[0].paths
    part = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))  # train, or the root
    subfolders: dict[str, set[str]] = {}
    for path in paths:
        parts = Path(path).relative_to(part).parts
        subfolders.setdefault(parts[0], set()).add(parts[1] if len(parts) > 2 else "")
    nested = [f"{name}/{sub}" for name in sorted(subfolders) for sub in sorted(subfolders[name]) if sub]
    if any("" in names for names in subfolders.values()) or len(nested) <= len(subfolders):
        return []
    return [
        f"the classes are {summarize(listing.classes)}, the folders in {root / part}; their subfolders"
        f" ({summarize(nested, 3)}) are not classes of their own."
    ]


def is_image(name: str) -> bool:
    """Return whether a file name has an image's extension and is not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def require_folder(root: Path) -> None:
    """Raise ImagesNotFound unless ``root`` is a folder."""
    if not root.is_dir():
        raise ImagesNotFound(
            f"dataset.root={root}: there is no such folder. Give that of your images with dataset.root=FOLDER."
        )


def require_same_classes(
    root: Path, train: str, train_classes: Sequence[str], other: str, other_classes: Sequence[str]
) -> None:
    """Raise UserError unless two splits, given by the names of their folders, have the same classes."""
    only = {
        train: set(train_classes) - set(other_classes),
        other: set(other_classes) - set(train_classes),
    }
    if any(only.values()):
        differences = "; ".join(
            f"only in {split}/: {summarize(sorted(names))}" for split, names in only.items() if names
        )
        raise UserError(
            f"dataset.root={root}: {train}/ and {other}/ must have the same class folders, but {differences}."
        )


def require_images(split: Path, classes: Sequence[str], files: Sequence[Sequence[object]]) -> None:
    """Raise UserError if a class, given with its files, has none."""
    empty = [name for name, members in zip(classes, files, strict=True) if not members]
    if empty:
        raise UserError(
            f"No images in these class folders of {split}: {summarize(empty)}. Add images or remove the folders."
        )


def _members(root: Path, split: Path, last: bool) -> dict[str, list[str]]:
    """Return the files of each class of a split, sorted by class and path."""
    if not last:
        return {folder.name: images_below(folder, root) for folder in _folders(split)}
    members: dict[str, list[str]] = {}
    for path in [path for folder in _folders(split) for path in images_below(folder, root)]:
        members.setdefault(os.path.basename(os.path.dirname(path)), []).append(path)
    return {name: sorted(members[name]) for name in sorted(members)}


def _spelled_as(train: Collection[str], members: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the files of each class under its name in ``train``: Unicode spells an accented letter in two ways."""
    spelling = {unicodedata.normalize("NFC", name): name for name in train}
    files: dict[str, list[str]] = {}
    for name, paths in members.items():
        own = name if name in train else spelling.get(unicodedata.normalize("NFC", name), name)
        files.setdefault(own, []).extend(paths)
    return dict(sorted(files.items()))


def _files(split: Path, members: dict[str, list[str]]) -> Files:
    classes, paths = list(members), list(members.values())
    if not any(paths):
        loose = sum(is_image(name) for name in os.listdir(split))
        remedy = f" Its {pluralize(loose, 'image')} must lie in a folder for each class." if loose else ""
        raise UserError(f"No images in the class folders of {split}: looked for {', '.join(EXTENSIONS)}.{remedy}")
    require_images(split, classes, paths)
    if len(classes) < 2:
        below = split / classes[0]
        meant = f" Did you mean dataset.root={below}?" if below.is_dir() and len(_folders(below)) > 1 else ""
        raise UserError(
            f"{split} has only one class folder, {classes[0]}/, but training needs at least two classes.{meant}"
        )
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(files) for files in paths]))
    return Files([path for files in paths for path in files], labels)


def _folders(path: Path) -> list[Path]:
    return sorted((entry for entry in path.iterdir() if entry.is_dir() and not _is_ignored(str(entry))), key=str)


def images_below(folder: Path, root: Path) -> list[str]:
    """Return paths relative to ``root``, as strings because a million ``Path`` objects are slow.

    Raises:
        UserError: A folder cannot be read.
    """
    images = []
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = [name for name in folders if not _is_ignored(os.path.join(parent, name))]
        images += [os.path.join(parent, name) for name in names if is_image(name)]
    start = len(os.path.join(root, ""))
    return sorted(path[start:] for path in images)


def _refuse(error: OSError) -> None:
    raise UserError(
        f"{error.filename}: this folder cannot be read ({error.strerror}), so its images would be left out. Make it"
        " readable, or move it away."
    ) from error


def _is_ignored(folder: str) -> bool:
    """Return whether a folder is hidden, or a link to one that contains it, directly or through other links."""
    if os.path.basename(folder).startswith("."):
        return True
    if not os.path.islink(folder):
        return False
    target = os.path.realpath(folder)
    return any(Path(os.path.realpath(parent)).is_relative_to(target) for parent in Path(folder).parents)
