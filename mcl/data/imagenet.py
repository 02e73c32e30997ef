"""ImageNet (ILSVRC 2012): 1,281,167 training and 50,000 validation images of 1000 classes, read during training."""

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

from mcl.console import summarize
from mcl.data.cache import cache_folder, load_or_build
from mcl.data.contents import THREADS, content_digest, file_status
from mcl.data.dataset import Dataset, Splits
from mcl.data.fingerprint import digest, fingerprint
from mcl.data.image_files import CenterSquare, ImageFiles, TransformPipeline, as_bytes, check_workers
from mcl.data.listing import is_image, require_folder, require_images, require_same_classes
from mcl.data.placement import DeviceCrop, RandomPlacement
from mcl.errors import UserError, check_choice
from mcl.files import expand_home

TRAIN, TEST = "train", "val"
CLASSES = 1000
IMAGES = {TRAIN: 1_281_167, TEST: 50_000}
IMAGES_PER_CLASS = {TRAIN: (732, 1300), TEST: (50, 50)}  # fewest and most
_INDEX_FORMAT = 2

log = logging.getLogger(__name__)


class ImageNet(Dataset):
    """ImageNet from ``root/train/WNID/*.JPEG`` and ``root/val/WNID/*.JPEG``; the latter is the test split.

    The files are listed once, and the list is kept in ``cache_dir`` with the fingerprint: a hash of their names, their
    sizes and the contents of about 10,000 of them (:mod:`mcl.data.contents`). They are listed again when the
    modification time of a class folder has changed, or when the cache was deleted. Until then, a file that is
    overwritten in place goes unnoticed.

    Args:
        root: the folder.
        transform: transforms of training images, applied in order. They are torchvision's (``v2``), take PIL images
            and return images of ``image_size``; normalization comes later, on the device.
        image_size: side in pixels.
        resize: size of a test image's shorter side before the center is cropped.
        partial: accept other classes and counts, such as 100 of the classes.
        corrupt: ``stop`` at damaged images, or ``skip`` and count them: another image of the class replaces each in
            training, and none in evaluation. A file that the file system fails to give always stops the run.
        workers: processes that read; None for one per core, at most 16.
        decode: ``gpu`` decodes and transforms training images on the GPU that trains; pixels differ a little. Test
            images, and files that are not JPEG, are decoded by the workers, as with ``cpu``.
        cache_dir: folder of the list of files; None for ``$MCL_CACHE`` or the platform's cache folder.
        mean, std: None for the usual ones.
        limit, validation, seed: as for every :class:`Dataset`.

    Raises:
        UserError: The tree is missing or incomplete; the message names what is missing.
    """

    lists_classes = True
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
        decode: Literal["cpu", "gpu"] = "cpu",
        cache_dir: str | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        limit: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ):
        if not root:
            raise UserError("dataset.root is not set: give the folder that contains train/ and val/.")
        if resize < image_size:
            raise UserError(f"dataset.resize={resize}: must be at least dataset.image_size={image_size}.")
        check_choice("dataset.corrupt", corrupt, ("stop", "skip"))
        check_choice("dataset.decode", decode, ("cpu", "gpu"))
        self.device_crop = None
        if decode == "gpu":
            self.device_crop = DeviceCrop(RandomPlacement(transform, image_size), image_size, 3)
        self.root = Path(os.path.abspath(expand_home(root)))
        self.listing = _list_images(self.root, cache_folder(cache_dir))
        if not partial:
            _require_complete(self.root, self.listing)
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
        """Return the 1000 classes in words, in the order of their identifiers."""
        from torchvision.models import ResNet18_Weights  # slow to import

        return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])

    def fingerprint(self) -> str:
        """Identify the images by the hashes that were taken when they were listed."""
        return self.listing.fingerprint

    @property
    def is_random(self) -> bool:
        return bool(self.transform) or super().is_random

    def load(self) -> Splits:
        size, channels = self.spec.image_size, self.spec.channels
        plain = CenterSquare(size, channels, self.resize)
        files = self._files(TRAIN, plain)
        kept, held_out = self.select(files.labels)
        train = files.take(kept)
        if self.transform:
            train = replace(train, decode=TransformPipeline(self.transform, size, channels), decode_plainly=plain)
        train = replace(train, device_crop=self.device_crop)
        return Splits(train, self._files(TEST, plain), files.take(held_out) if self.validation else None)

    def _files(self, split: str, decode: CenterSquare) -> ImageFiles:
        paths, labels = self.listing.paths[split], self.listing.labels[split]
        return ImageFiles(
            self.root,
            paths,
            labels,
            decode,
            skip=self.corrupt == "skip",
            workers=self.workers,
            unreadable=self.unreadable,
        )


class Listing(NamedTuple):
    """The image files of each split."""

    classes: tuple[str, ...]  # WordNet identifiers, in order
    paths: dict[str, NDArray[np.bytes_]]  # (N,) relative to the root, class by class
    labels: dict[str, Tensor]  # (N,) int64
    fingerprint: str


def _list_images(root: Path, cache: Path) -> Listing:
    require_folder(root)
    folders = {split: _class_folders(root, split) for split in (TRAIN, TEST)}  # the key of the cache
    classes, test_classes = ([name for name, _ in folders[split]] for split in (TRAIN, TEST))
    require_same_classes(root, TRAIN, classes, TEST, test_classes)
    key = digest([_INDEX_FORMAT, str(root), folders])
    return load_or_build(
        cache / "indexes" / f"{root.name}-{key}",
        functools.partial(_read_index, classes=tuple(classes)),
        functools.partial(_build_index, root, classes),
        option="dataset.cache_dir",
    )


def _class_folders(root: Path, split: str) -> list[tuple[str, int]]:
    """Return ``(name, modification time)`` of each class folder, in order."""
    try:
        with os.scandir(root / split) as entries:
            folders = sorted(
                (entry.name, entry.stat().st_mtime_ns)
                for entry in entries
                if entry.is_dir() and not entry.name.startswith(".")
            )
    except FileNotFoundError:
        raise UserError(f"dataset.root={root} has no {split}/ folder: ImageNet needs train/ and val/.") from None
    if not folders:
        message = f"{root / split} has no class folders."
        if loose := sum(map(is_image, os.listdir(root / split))):
            message += (
                f" Its {loose:,} images lie side by side: move each into a folder named after its class (n01440764,"
                " ...), according to the ground truth in the development kit."
            )
        raise UserError(message)
    return folders


def _build_index(root: Path, classes: list[str], folder: Path) -> None:
    log.warning("Listing the files of %s, once", root)
    arrays: dict[str, NDArray[Any]] = {}
    paths: list[str] = []
    sizes: list[int] = []
    for split in (TRAIN, TEST):
        with ThreadPoolExecutor(THREADS) as pool:
            by_class = list(pool.map(functools.partial(_files_of_class, root, split), classes))
        require_images(root / split, classes, by_class)
        files = [file for files in by_class for file in files]
        paths += [path for path, _ in files]
        sizes += [size for _, size in files]
        arrays[f"{split}_paths"] = as_bytes([path for path, _ in files])
        arrays[f"{split}_labels"] = np.repeat(np.arange(len(classes)), [len(files) for files in by_class])
    arrays["contents"] = np.array(content_digest(root, paths, sizes))
    np.savez(folder / "index.npz", **arrays)  # type: ignore[arg-type] # no key is allow_pickle


def _files_of_class(root: Path, split: str, name: str) -> list[tuple[str, int]]:
    """Return ``(path below root, size)`` of the images of a class, in order."""
    with os.scandir(root / split / name) as entries:
        names = sorted((entry.name for entry in entries if is_image(entry.name)), key=os.fsencode)
    paths = ["/".join((split, name, file)) for file in names]
    return [(path, file_status(root, path).st_size) for path in paths]


def _read_index(folder: Path, classes: tuple[str, ...]) -> Listing | None:
    """Return the cached listing; None if it is missing or damaged (a zip archive has checksums)."""
    try:
        with np.load(folder / "index.npz") as arrays:
            paths = {split: arrays[f"{split}_paths"] for split in (TRAIN, TEST)}
            labels = {split: torch.from_numpy(arrays[f"{split}_labels"]) for split in (TRAIN, TEST)}
            contents = str(arrays["contents"])
    except FileNotFoundError:
        return None
    except Exception:  # a damaged archive can raise anything
        log.warning("The list of files in %s is damaged: listing them again", folder)
        return None
    names = digest([paths[split].tobytes() for split in (TRAIN, TEST)])
    return Listing(classes, paths, labels, fingerprint(names, contents))


def _require_complete(root: Path, listing: Listing) -> None:
    """Raise UserError unless the tree is all of ImageNet; the message names where images are missing."""
    problems = []
    if len(listing.classes) != CLASSES:
        problems.append(f"{len(listing.classes)} class folders where there should be {CLASSES}")
    for split, (fewest, most) in IMAGES_PER_CLASS.items():
        counts = dict(zip(listing.classes, listing.labels[split].bincount().tolist(), strict=True))
        if odd := [f"{name} ({count:,})" for name, count in counts.items() if not fewest <= count <= most]:
            expected = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
            problems.append(f"in {split}/ these do not have {expected} images: {summarize(odd)}")
        if (total := sum(counts.values())) != IMAGES[split]:
            problems.append(f"{split}/ has {total:,} images of {IMAGES[split]:,}")
    if problems:
        raise UserError(
            f"dataset.root={root} is not all of ImageNet: {'; '.join(problems)}. Copy what is missing, or set"
            " dataset.partial=true to use a part of it."
        )
