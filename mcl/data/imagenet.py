"""ImageNet (ILSVRC 2012): 1,281,167 training and 50,000 validation images of 1000 classes, read as training goes."""

import functools
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcl.data.cache import cache_folder, load_or_build
from mcl.data.contents import THREADS, content_digest, file_status
from mcl.data.dataset import Dataset, Splits, digest, some
from mcl.data.fingerprint import fingerprint
from mcl.data.image_files import CenterSquare, ImageFiles, TransformPipeline, as_bytes, check_workers
from mcl.data.listing import is_image
from mcl.errors import UserError

TRAIN, TEST = "train", "val"
CLASSES = 1000
IMAGES = {TRAIN: 1_281_167, TEST: 50_000}
OF_A_CLASS = {TRAIN: (732, 1300), TEST: (50, 50)}  # fewest and most
_INDEX_FORMAT = 2

log = logging.getLogger(__name__)


class ImageNet(Dataset):
    """ImageNet from ``root/train/WNID/*.JPEG`` and ``root/val/WNID/*.JPEG``; the latter is the test part.

    The files are listed once, and the list is kept in ``cache_dir`` with the fingerprint: a hash of their names, their
    sizes and the contents of about 10,000 of them (:mod:`mcl.data.contents`). They are listed again when a class folder
    has been changed, which its time of modification tells, or where ``cache_dir`` was emptied. Until then, a file that
    is overwritten in place is not noticed.

    Args:
        root: the folder.
        transform: of training images, one after the other: transforms of torchvision (``v2``) that take PIL images and
            give images of ``image_size``; normalisation comes later, on the device.
        image_size: side in pixels.
        resize: to what the shorter side of a test image is resized, before its centre is cut out.
        partial: accept a tree of other classes and counts, such as 100 of its classes.
        corrupt: what to do about damaged images: ``stop``, or ``skip``: another image of the class is taken instead
            (in a test part none), and their number told. A file that the file system does not give always stops.
        workers: processes that read; None for as many as there are cores, 16 at most.
        cache_dir: where the list of files is kept; None for ``$MCL_CACHE`` or the platform's cache folder.
        mean, std: None for the usual ones.
        limit, validation, seed: as for every dataset, see :class:`Dataset`.

    Raises:
        UserError: the tree is not there, or not whole; the message says what is missing.
    """

    own_mean: ClassVar = (0.485, 0.456, 0.406)
    own_std: ClassVar = (0.229, 0.224, 0.225)

    def __init__(
        self,
        root: str | None = None,
        transform: Sequence[Callable[..., object]] = (),
        image_size: int = 224,
        resize: int = 256,
        partial: bool = False,
        corrupt: Literal["stop", "skip"] = "stop",
        workers: int | None = None,
        cache_dir: str | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        limit: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ):
        if not root:
            raise UserError("dataset.root is not given: it is the folder that has train/ and val/.")
        if resize < image_size:
            raise UserError(f"dataset.resize={resize}: must be at least dataset.image_size={image_size}.")
        self.root = Path(os.path.abspath(Path(root).expanduser()))
        cache = Path(cache_dir).expanduser() if cache_dir else cache_folder()
        self.listing = _listing(self.root, cache)
        if not partial:
            _require_all(self.root, self.listing)
        super().__init__(
            name="imagenet",
            classes=self.listing.classes,
            channels=3,
            image_size=image_size,
            counts=self.listing.labels[TRAIN].bincount().tolist(),
            mean=mean or self.own_mean,
            std=std or self.own_std,
            augmentation=None,
            limit=limit,
            validation=validation,
            seed=seed,
        )
        self.transform = list(transform)
        self.resize = resize
        self.corrupt = corrupt
        self.workers = check_workers(workers)

    @staticmethod
    def published_classes() -> tuple[str, ...]:
        """The 1000 classes in words, in the order of their identifiers."""
        from torchvision.models import ResNet18_Weights  # slow to import

        return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])

    def fingerprint(self) -> str:
        """Identify the images by what was found when they were listed."""
        return self.listing.fingerprint

    def load(self) -> Splits:
        size, channels = self.spec.image_size, self.spec.channels
        plain = CenterSquare(size, channels, self.resize)
        everything = self._files(TRAIN, plain)
        kept, held_out = self.select(everything.labels)
        train = everything.take(kept)
        if self.transform:
            train = replace(train, decode=TransformPipeline(self.transform, size, channels), decode_plainly=plain)
        return Splits(train, self._files(TEST, plain), everything.take(held_out) if self.validation else None)

    def _files(self, part: str, decode: CenterSquare) -> ImageFiles:
        paths, labels = self.listing.paths[part], self.listing.labels[part]
        return ImageFiles(self.root, paths, labels, decode, skip=self.corrupt == "skip", workers=self.workers)


class Listing(NamedTuple):
    """Which files there are, by part."""

    classes: tuple[str, ...]  # WordNet identifiers, in order
    paths: dict[str, NDArray[np.bytes_]]  # (N,) relative to the root, class by class
    labels: dict[str, Tensor]  # (N,) int64
    fingerprint: str


def _listing(root: Path, cache: Path) -> Listing:
    folders = {part: _class_folders(root, part) for part in (TRAIN, TEST)}
    classes = [name for name, _ in folders[TRAIN]]
    if classes != [name for name, _ in folders[TEST]]:
        one, other = ({name for name, _ in folders[part]} for part in (TRAIN, TEST))
        told = [
            f"only in {part}/: {some(sorted(names))}"
            for part, names in ((TRAIN, one - other), (TEST, other - one))
            if names
        ]
        raise UserError(
            f"dataset.root={root}: train/ and val/ must have the same class folders, but {'; '.join(told)}."
        )
    key = digest([_INDEX_FORMAT, str(root), folders])
    return load_or_build(
        cache / "indexes" / f"{root.name}-{key}",
        functools.partial(_read_index, classes=tuple(classes)),
        functools.partial(_build_index, root, classes),
        option="dataset.cache_dir",
    )


def _class_folders(root: Path, part: str) -> list[tuple[str, int]]:
    """``(name, time of modification)`` of each, in order."""
    if not root.is_dir():
        raise UserError(f"dataset.root={root}: there is no such folder.")
    try:
        with os.scandir(root / part) as entries:
            found = sorted((e.name, e.stat().st_mtime_ns) for e in entries if e.is_dir() and not e.name.startswith("."))
    except FileNotFoundError:
        raise UserError(f"dataset.root={root} has no {part}/ folder; ImageNet lies in train/ and val/.") from None
    if not found:
        loose = sum(map(is_image, os.listdir(root / part)))
        sort_them = (
            f" Its {loose:,} images lie side by side: move each into a folder named after its class (n01440764, ...),"
            " as the ground truth of the development kit says."
        )
        raise UserError(f"{root / part} has no class folders.{sort_them if loose else ''}")
    return found


def _build_index(root: Path, classes: list[str], folder: Path) -> None:
    log.warning("Listing the files of %s, once", root)
    arrays: dict[str, NDArray[Any]] = {}
    paths: list[str] = []
    sizes: list[int] = []
    for part in (TRAIN, TEST):
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(functools.partial(_files_of_class, root, part), classes))
        empty = [name for name, files in zip(classes, found, strict=True) if not files]
        if empty:
            raise UserError(f"No images in these class folders of {root / part}: {some(empty)}. Copy them again.")
        files = [file for files in found for file in files]
        paths += [path for path, _ in files]
        sizes += [size for _, size in files]
        arrays[f"{part}_paths"] = as_bytes([path for path, _ in files])
        arrays[f"{part}_labels"] = np.repeat(np.arange(len(classes)), [len(files) for files in found])
    arrays["contents"] = np.array(content_digest(root, paths, sizes))
    np.savez(folder / "index.npz", **arrays)  # type: ignore[arg-type]


def _files_of_class(root: Path, part: str, name: str) -> list[tuple[str, int]]:
    """``(path below root, size)`` of the images of a class, in order."""
    with os.scandir(root / part / name) as entries:
        names = sorted((entry.name for entry in entries if is_image(entry.name)), key=os.fsencode)
    paths = ["/".join((part, name, file)) for file in names]
    return [(path, file_status(root, path).st_size) for path in paths]


def _read_index(folder: Path, classes: tuple[str, ...]) -> Listing | None:
    """None where there is none, or it is damaged (a zip archive notices)."""
    try:
        with np.load(folder / "index.npz") as arrays:
            paths = {part: arrays[f"{part}_paths"] for part in (TRAIN, TEST)}
            labels = {part: torch.from_numpy(arrays[f"{part}_labels"]) for part in (TRAIN, TEST)}
            contents = str(arrays["contents"])
    except FileNotFoundError:
        return None
    except Exception:  # a damaged archive can raise anything
        log.warning("The list of files in %s is damaged: listing them again", folder)
        return None
    names = digest([paths[part].tobytes() for part in (TRAIN, TEST)])
    return Listing(classes, paths, labels, fingerprint(names, contents))


def _require_all(root: Path, listing: Listing) -> None:
    """Raise UserError, saying where images are missing, unless this is the whole of ImageNet."""
    problems = []
    if len(listing.classes) != CLASSES:
        problems.append(f"{len(listing.classes)} class folders where there should be {CLASSES}")
    for part in (TRAIN, TEST):
        counts = listing.labels[part].bincount().tolist()
        least, most = OF_A_CLASS[part]
        odd = [
            f"{name} ({count:,})"
            for name, count in zip(listing.classes, counts, strict=True)
            if not least <= count <= most
        ]
        expected = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        if odd:
            problems.append(f"in {part}/ these have not {expected} images: {some(odd)}")
        if (total := sum(counts)) != IMAGES[part]:
            problems.append(f"{part}/ has {total:,} images of {IMAGES[part]:,}")
    if problems:
        raise UserError(
            f"dataset.root={root} is not the whole of ImageNet: {'; '.join(problems)}. Copy what is missing, or use"
            " dataset.partial=true for a part of it."
        )
