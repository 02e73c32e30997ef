"""List trees of class folders. No image is opened."""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mcl.data.dataset import require_two_images, some, split
from mcl.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
_TRAIN, _VALIDATION, _TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")


class Files(NamedTuple):
    """Files of one part, class by class."""

    paths: list[str]  # relative to the root
    labels: Tensor  # (N,) int64

    def take(self, indices: Tensor) -> "Files":
        """The files at ``indices``."""
        return Files([self.paths[index] for index in indices.tolist()], self.labels[indices])


class Listing(NamedTuple):
    """A dataset as it lies on disk."""

    classes: tuple[str, ...]
    train: Files
    test: Files
    validation: Files | None


def list_folder(root: Path, *, test_fraction: float, seed: int) -> Listing:
    """Find the parts and classes below ``root``.

    Either ``root`` has a train/ folder and one or both of val|valid|validation/ and test/ (with both, the first is the
    validation part), each a tree of class folders; or it has the class folders themselves, and ``test_fraction`` of
    each class becomes the test part. Images lie anywhere below their class folder. Classes are sorted by name. Files
    without an image's extension, hidden files and hidden folders do not count, nor do links to a folder that they lie
    in.

    Raises:
        UserError: when this is not what is there; the message says what is.
    """
    if not root.is_dir():
        raise UserError(f"dataset.root={root}: there is no such folder.")
    named = {folder.name.lower(): folder for folder in _folders(root)}
    train, validation, test = (
        next((named[name] for name in names if name in named), None) for names in (_TRAIN, _VALIDATION, _TEST)
    )
    if train is None:
        if test or validation:
            raise UserError(f"dataset.root={root} has {(test or validation or root).name}/ but no train/ folder.")
        return _single_tree(root, test_fraction, seed)
    if test is None and validation is None:
        raise UserError(
            f"dataset.root={root} has {train.name}/ but no test part: val/, valid/, validation/ or test/. "
            f"Add one, or use dataset.root={train}, of which dataset.test_fraction becomes the test part."
        )
    classes = [folder.name for folder in _folders(train)]
    if test and validation and not {folder.name for folder in _folders(test)} & set(classes):
        test = None  # a test part without labels, as some benchmarks have: its folders are no classes
    if test is None and validation:
        test, validation = validation, None
    assert test
    return Listing(
        tuple(classes),
        _files(root, train, classes),
        _files(root, test, classes),
        _files(root, validation, classes) if validation else None,
    )


def is_image(name: str) -> bool:
    """Whether a file of this name counts as an image: it has an image's extension and is not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _single_tree(root: Path, test_fraction: float, seed: int) -> Listing:
    """Class folders alone: each class is cut in two."""
    if not 0 < test_fraction < 1:
        raise UserError(f"dataset.test_fraction={test_fraction}: a fraction above 0 and below 1.")
    classes = [folder.name for folder in _folders(root)]
    every = _files(root, root, classes)
    require_two_images(classes, every.labels.bincount().tolist(), f"dataset.test_fraction={test_fraction}")
    rest, held_out = split(every.labels, test_fraction, stream="test", seed=seed)
    return Listing(tuple(classes), every.take(rest), every.take(held_out), None)


def _files(root: Path, part: Path, classes: list[str]) -> Files:
    """The images of one part, which must have exactly these classes."""
    found = [folder.name for folder in _folders(part)]
    if found != classes:
        only = {
            "the training part": sorted(set(classes) - set(found)),
            f"{part.name}/": sorted(set(found) - set(classes)),
        }
        told = "; ".join(f"only in {where}: {some(names)}" for where, names in only.items() if names)
        raise UserError(f"The parts of dataset.root={root} must have the same class folders, but {told}.")
    paths = [_images_below(part / name, root) for name in classes]
    if not any(paths):
        raise UserError(f"No images in {part}: looked for {', '.join(EXTENSIONS)} in its class folders.")
    empty = [name for name, files in zip(classes, paths, strict=True) if not files]
    if empty:
        raise UserError(f"No images in these class folders of {part}: {some(empty)}. Add images or remove the folder.")
    if len(classes) < 2:
        raise UserError(
            f"{part} has the single class folder {classes[0]}/, but telling classes apart takes at least two. "
            f"Is dataset.root={part / classes[0]} meant?"
        )
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(files) for files in paths]))
    return Files([path for files in paths for path in files], labels)


def _folders(path: Path) -> list[Path]:
    return sorted(
        (
            entry
            for entry in path.iterdir()
            if entry.is_dir() and not entry.name.startswith(".") and not _leads_back(str(entry))
        ),
        key=str,
    )


def _images_below(folder: Path, root: Path) -> list[str]:
    """Paths relative to ``root``; strings, since a million ``Path`` objects take their time."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [
            name for name in folders if not name.startswith(".") and not _leads_back(os.path.join(parent, name))
        ]
        found += [os.path.join(parent, name) for name in names if is_image(name)]
    start = len(os.path.join(root, ""))
    return sorted(path[start:] for path in found)


def _leads_back(folder: str) -> bool:
    """Whether a folder is a link to one that it lies in, itself or by way of other links."""
    if not os.path.islink(folder):
        return False
    target = os.path.realpath(folder)
    return any(Path(os.path.realpath(parent)).is_relative_to(target) for parent in Path(folder).parents)
