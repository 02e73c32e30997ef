"""Datasets of listed image files, decoded once and kept in a cache on disk, or read during training."""

import json
import logging
import os
import shutil
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcl.console import summarize
from mcl.data.augmentation import Augmentation
from mcl.data.available_memory import available_memory
from mcl.data.cache import cache_folder, load_or_build
from mcl.data.contents import Contents, contents
from mcl.data.dataset import Dataset, Images, Splits, take_rows
from mcl.data.decoding import (
    MAY_PASS,
    Read,
    decode_all,
    find_unreadable,
    open_header,
    optional_decoders,
    read_error,
    read_file,
)
from mcl.data.fingerprint import digest, fingerprint
from mcl.data.image_files import NAMED, CenterSquare, ImageFiles, as_bytes, check_workers
from mcl.data.listing import Files, Listing
from mcl.errors import UserError, check_choice
from mcl.files import expand_home

log = logging.getLogger(__name__)
_IMAGENET = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}
_CACHE_FORMAT = 3  # increased whenever decoding changes, so that old caches are not read


class ListedFiles(Dataset):
    """Base class of datasets whose constructor lists the image files with their classes and splits.

    A subclass implements `find_images`. Decoded images are kept in ``cache_dir`` and mapped into memory from there. The
    cache key is made of the file contents (:mod:`mcl.data.contents`), the size and the channels, so a copy of the files
    reuses the cache. Deleting the cache is always safe.

    Args:
        root: where the images are; the subclass says what it is.
        name: the dataset's name in results; None for the name of ``root``.
        channels: 3 or 1; images are converted.
        image_size: side in pixels, see :func:`mcl.data.decoding.decode`; None for that of the first image, which must
            then be square.
        test_fraction: fraction of each class that becomes the test split, if there is none; 1 to evaluate all images.
        corrupt: ``stop`` at damaged files, or ``skip`` and count them; ``spec`` includes them. File system
            errors are never skipped: they stop the run, and the next start tries the file again.
        storage: decode all images into ``memory``, or leave them on ``disk`` and read them during training; ``auto``
            chooses memory if they fit. Images, pixels and steps are the same. With ``corrupt=skip``, ``disk`` decodes
            every file once beforehand to find the damaged ones.
        workers: processes that read from disk; None for one per core, at most 16.
        cache_dir: folder of the cache; None for ``$MCL_CACHE`` or the platform's cache folder.
        augmentation, limit, validation, seed: as for every :class:`Dataset`; ``seed`` also chooses the test split.
            Images that ``limit`` leaves out are not decoded.
        mean, std: None for ImageNet's.

    Attributes:
        labeling: what a fingerprint covers beside classes, names and contents of the files.
        read: returns the content of a file.

    Raises:
        UserError: ``root`` has no such images, an argument is out of its range, or ``image_size`` is None and the
            first image cannot be read or is not square.
    """

    root_means: ClassVar[str]  # what dataset.root is, for the message that asks for it
    labeling: Sequence[object] = ()
    read: Read = staticmethod(read_file)

    def __init__(
        self,
        root: str | None = None,
        name: str | None = None,
        channels: int = 3,
        image_size: int | None = None,
        test_fraction: float = 0.2,
        corrupt: Literal["stop", "skip"] = "stop",
        storage: Literal["auto", "memory", "disk"] = "auto",
        workers: int | None = None,
        cache_dir: str | None = None,
        augmentation: Augmentation | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        limit: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ):
        if not root:
            raise UserError(f"dataset.root is not set: use dataset.root={self.root_means}.")
        if channels not in _IMAGENET:
            raise UserError(f"dataset.channels={channels}: must be 3 (color) or 1 (gray).")
        check_choice("dataset.corrupt", corrupt, ("stop", "skip"))
        check_choice("dataset.storage", storage, ("auto", "memory", "disk"))
        place = Path(os.path.abspath(expand_home(root)))
        self.root, self.listing = self.find_images(place, test_fraction=test_fraction, seed=seed)
        if self.listing.validation and validation:
            raise UserError(
                f"dataset.validation={validation}: {place} has a validation split. Use dataset.validation=0."
            )
        self.untrainable = self.listing.untrainable
        self.drawn_fraction = test_fraction if self.listing.drawn else None
        super().__init__(
            name=name or place.name,
            classes=self.listing.classes,
            channels=channels,
            image_size=self._size_of_first(skip=corrupt == "skip") if image_size is None else image_size,
            counts=self.listing.train.labels.bincount(minlength=len(self.listing.classes)).tolist(),
            mean=mean or _IMAGENET[channels][0],
            std=std or _IMAGENET[channels][1],
            augmentation=augmentation,
            limit=limit,
            validation=0.0 if self.untrainable else validation,  # there is nothing to hold out
            seed=seed,
            has_validation=self.listing.validation is not None,
        )
        self.corrupt = corrupt
        self.storage = storage
        self.workers = check_workers(workers)
        self.cache_dir = cache_folder(cache_dir)

    @abstractmethod
    def find_images(self, place: Path, *, test_fraction: float, seed: int) -> tuple[Path, Listing]:
        """Return the folder that the paths start from, and the files.

        Raises:
            UserError: ``place`` is not what it should be.
        """

    def hash_contents(self, paths: list[str]) -> Contents:
        """Hash the contents of some of the files, given by their sorted paths."""
        return contents(self.root, paths, self.cache_dir)

    def fingerprint(self) -> str:
        """Identify the images by their classes, names, sizes and contents, see :mod:`mcl.data.contents`."""
        paths = sorted(path for split in self.listing.splits for path in split.paths)
        hashed = self.hash_contents(paths)
        names = digest([*self.listing.classes, *zip(paths, hashed.sizes, strict=True), *self.labeling])
        return fingerprint(names, hashed.digest)

    def load(self) -> Splits:
        train, test, validation = self.listing.train, self.listing.test, self.listing.validation
        if not self.untrainable:
            kept, held_out = self.select(train.labels)
            if self.validation:
                validation = train.take(held_out)
            train = train.take(kept)
        # Sorted by name, so that one cache serves every way of splitting the same files.
        paths = sorted(train.paths + test.paths + (validation.paths if validation else []))
        images: Tensor | None = None
        if self._stays_on_disk(len(paths)):
            unreadable = self._find_unreadable(paths) if self.corrupt == "skip" else {}
        else:
            images, unreadable = self._decode(paths)
        if unreadable and self.corrupt == "stop":
            self._stop(paths, unreadable)
        if unreadable:
            skipped = [paths[row] for row in unreadable]
            named = summarize(skipped, NAMED)
            log.warning("%s: skipped %d unreadable of %d files: %s", self.root, len(skipped), len(paths), named)
            self.unreadable |= {str(self.root / paths[row]): reason for row, reason in unreadable.items()}
        rows = {path: row for row, path in enumerate(paths) if row not in unreadable}
        return Splits(
            self._split("training", train, rows, images),
            self._split("test", test, rows, images),
            self._split("validation", validation, rows, images) if validation else None,
        )

    def _split(self, name: str, files: Files, rows: dict[str, int], images: Tensor | None) -> Images | ImageFiles:
        """Return the readable files in the order of their names, decoded if ``images`` holds them.

        Args:
            name: name of the split, for the error message.
            files: files of the split.
            rows: row in ``images`` of each readable file.
            images: (N, channels, size, size) uint8, memory-mapped; None to leave the files on disk.

        Raises:
            UserError: A class has no readable file.
        """
        readable = [position for position, path in enumerate(files.paths) if path in rows]
        has_files = bool(files.paths)
        files = files.take(torch.tensor(sorted(readable, key=files.paths.__getitem__), dtype=torch.int64))
        counts = files.labels.bincount(minlength=self.spec.num_classes).tolist()
        empty = [name for name, count in zip(self.spec.classes, counts, strict=True) if count == 0]
        if has_files and empty:
            raise UserError(
                f"No image in the {name} split of class {summarize(empty)} of {self.root} can be read. Repair these"
                " files, or remove the class folder."
            )
        if images is not None:
            return Images(take_rows(images, torch.tensor([rows[path] for path in files.paths])), files.labels)
        return ImageFiles(
            self.root,
            as_bytes(files.paths),
            files.labels,
            CenterSquare(self.spec.image_size, self.spec.channels, read=self.read),
            skip=self.corrupt == "skip",
            workers=self.workers,
            unreadable=self.unreadable,
        )

    def _decode(self, paths: list[str]) -> tuple[Tensor, dict[int, str]]:
        """Return the decoded images and the reasons why some are unreadable, by row."""
        shape = (len(paths), *self.spec.image_shape)
        images, unreadable = load_or_build(
            self.cache_dir / "folders" / self._cache_name(paths),
            partial(_read_cache, shape=shape),
            partial(self._build_cache, paths),
            option="dataset.cache_dir",
        )
        return torch.from_numpy(images), unreadable

    def _find_unreadable(self, paths: list[str]) -> dict[int, str]:
        """Return the reasons why some files are unreadable, by row, exactly as `_decode` does."""
        return load_or_build(
            self.cache_dir / "unreadable" / self._cache_name(paths),
            _read_unreadable,
            partial(self._build_unreadable, paths),
            option="dataset.cache_dir",
        )

    def _build_unreadable(self, paths: list[str], folder: Path) -> None:
        files = [self.root / path for path in paths]
        size, channels = self.spec.image_size, self.spec.channels
        unreadable = find_unreadable(files, size, channels, name=self.spec.name, read=self.read)
        (folder / "unreadable.json").write_text(json.dumps(unreadable))

    def _build_cache(self, paths: list[str], folder: Path) -> None:
        files = [self.root / path for path in paths]
        size, channels = self.spec.image_size, self.spec.channels
        skip = self.corrupt == "skip"
        needed, free = len(paths) * channels * size**2, shutil.disk_usage(folder).free
        if needed > free:
            raise UserError(
                f"The decoded images of {self.root} take {needed / 1e9:,.1f} GB, but {free / 1e9:,.1f} GB of the disk"
                f" of {self.cache_dir} are free. Choose another place with dataset.cache_dir, or use"
                " dataset.storage=disk."
            )
        images, unreadable = decode_all(files, size, channels, name=self.spec.name, keep_going=skip, read=self.read)
        if unreadable and not skip:
            self._stop(paths, unreadable)
        np.save(folder / "images.npy", images)
        about = {"crc32": zlib.crc32(images.data), "unreadable": unreadable}
        (folder / "about.json").write_text(json.dumps(about))

    def _cache_name(self, paths: list[str]) -> str:
        """Return a name derived from everything that determines the pixels of these files."""
        size, channels = self.spec.image_size, self.spec.channels
        key = digest([_CACHE_FORMAT, size, channels, *self.hash_contents(paths).key, *optional_decoders()])
        return f"{self.root.name}-{size}px-{key}"

    def _stop(self, paths: list[str], unreadable: dict[int, str]) -> NoReturn:
        files = [f"{self.root / paths[row]} ({reason})" for row, reason in unreadable.items()]
        raise UserError(
            f"Cannot read {summarize(files)}. Repair or remove the damaged files, or use dataset.corrupt=skip to leave"
            " them out."
        )

    def _stays_on_disk(self, count: int) -> bool:
        """Return whether to leave ``count`` images on disk.

        Raises:
            UserError: ``storage=memory``, and they do not fit.
        """
        if self.storage == "disk":
            return True
        size, channels = self.spec.image_size, self.spec.channels
        needed, free = count * channels * size**2, available_memory()
        if free is None or needed <= free:
            return False
        too_large = (
            f"{count:,} images of {channels} x {size} x {size} take {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB of"
            " memory are free"
        )
        if self.storage == "memory":
            raise UserError(
                f"{too_large}. Use dataset.storage=disk, a smaller dataset.image_size, or dataset.limit for fewer"
                " images of each class."
            )
        log.warning("%s: they are read from disk during training (dataset.storage=auto).", too_large)
        return True

    def _size_of_first(self, *, skip: bool) -> int:
        """Return the side of the first training image, or test image, or of the first that is not damaged."""
        reason = ""
        for name in self.listing.splits[0].paths:
            path = self.root / name
            try:
                with open_header(self.read(path)) as image:
                    width, height = image.size
            except MAY_PASS as error:
                raise read_error(path, error) from error
            except Exception as error:  # a damaged file can raise anything
                reason = f"Cannot read {path} ({' '.join(str(error).split())})"
                if skip:
                    continue
                raise UserError(
                    f"{reason}. Repair or remove the damaged file, or leave such files out with dataset.corrupt=skip."
                ) from error
            if width != height:
                raise UserError(
                    f"{path} is {width} x {height} pixels, not square: set dataset.image_size, such as"
                    f" dataset.image_size={usual_size(min(width, height))}; images are scaled and cropped to it."
                )
            return width
        raise UserError(f"{reason}, nor any other training image of {self.root}: set dataset.image_size.")


def usual_size(side: int) -> int:
    """Return the largest usual side of training images that is not above a side."""
    return max((size for size in (32, 64, 128, 224) if size <= side), default=side)


def _read_cache(folder: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], dict[int, str]] | None:
    """Return decoded images and the reasons why some are unreadable; None if the cache is missing or damaged."""
    try:
        about = json.loads((folder / "about.json").read_text())
        # Mapped copy-on-write: read from the file when needed, shared among processes, never written back.
        images = np.load(folder / "images.npy", mmap_mode="c")
        intact = images.shape == shape and images.dtype == np.uint8 and zlib.crc32(images.data) == about["crc32"]
        unreadable = _by_row(about["unreadable"])
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        log.warning("The cache %s is damaged: decoding again", folder)
        return None
    return images, unreadable


def _read_unreadable(folder: Path) -> dict[int, str] | None:
    """Return the reasons why some files are unreadable, by row; None if the cache is missing or damaged."""
    try:
        return _by_row(json.loads((folder / "unreadable.json").read_text()))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _by_row(reasons: dict[str, str]) -> dict[int, str]:
    return {int(row): str(reason) for row, reason in reasons.items()}
