"""A folder of images as a dataset, decoded once and kept in a cache on disk."""

import json
import logging
import os
import zlib
from collections.abc import Container
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mcl.data.augmentation import Augmentation
from mcl.data.available_memory import available_memory
from mcl.data.cache import cache_folder, load_or_build
from mcl.data.contents import contents
from mcl.data.dataset import Dataset, Images, Splits, digest, some, take_rows
from mcl.data.decoding import decode_all, find_unreadable
from mcl.data.fingerprint import fingerprint
from mcl.data.image_files import CenterSquare, ImageFiles, as_bytes, check_workers
from mcl.data.listing import Files, list_folder
from mcl.errors import UserError

log = logging.getLogger(__name__)
_IMAGENET = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}
_CACHE_FORMAT = 2  # raised whenever decoding changes, so that old caches are not read


class Folder(Dataset):
    """Images in class folders; :func:`mcl.data.listing.list_folder` says which trees are understood.

    Decoded images are kept in ``cache_dir`` and mapped into memory from there. They are found by the contents of the
    files (:mod:`mcl.data.contents`), the size and the channels, so a copy of the folder finds them too and another
    folder does not; deleting the cache is always safe.

    Args:
        root: the folder.
        name: what results call it; None takes the root's own name.
        channels: 3 or 1; images are converted.
        image_size: side in pixels; None takes that of the first image, which must then be square. See
            :func:`mcl.data.decoding.decode` for how others are resized.
        test_fraction: share of each class that becomes the test part, where the folder has none.
        corrupt: what to do about unreadable files: ``stop``, or ``skip`` and say how many. ``spec`` counts them all. A
            file that the file system does not give is not skipped: it stops, and is read at the next start.
        storage: decode all images into ``memory``, or leave them on ``disk`` and read them as training goes; ``auto``
            takes the memory as long as they fit. Images, pixels and steps are the same. With ``corrupt=skip``, ``disk``
            decodes every file once beforehand to find those to skip.
        workers: processes that read from disk; None for as many as there are cores, 16 at most.
        cache_dir: where decoded images are kept; None for ``$MCL_CACHE`` or the platform's cache folder.
        augmentation, limit, validation, seed: as for every dataset, see :class:`Dataset`; ``seed`` also chooses the
            test part. Images that ``limit`` leaves out are not decoded.
        mean, std: None for ImageNet's.
    """

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
            raise UserError("dataset.root is not given: it is the folder of images.")
        if channels not in _IMAGENET:
            raise UserError(f"dataset.channels={channels}: 3 (colour) or 1 (grey).")
        if corrupt not in ("stop", "skip"):
            raise UserError(f"dataset.corrupt={corrupt}: stop or skip.")
        self.root = Path(os.path.abspath(Path(root).expanduser()))
        self.listing = list_folder(self.root, test_fraction=test_fraction, seed=seed)
        if self.listing.validation and validation:
            raise UserError(
                f"dataset.validation={validation}: {self.root} comes with a validation part. Use dataset.validation=0."
            )
        super().__init__(
            name=name or self.root.name,
            classes=self.listing.classes,
            channels=channels,
            image_size=self._size_of_first() if image_size is None else image_size,
            counts=self.listing.train.labels.bincount().tolist(),
            mean=mean or _IMAGENET[channels][0],
            std=std or _IMAGENET[channels][1],
            augmentation=augmentation,
            limit=limit,
            validation=validation,
            seed=seed,
            has_validation=self.listing.validation is not None,
        )
        self.corrupt = corrupt
        self.storage = storage
        self.workers = check_workers(workers)
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else cache_folder()

    def fingerprint(self) -> str:
        """Identify the images by their classes, names, sizes and contents, see :mod:`mcl.data.contents`."""
        paths = sorted(path for part in self.listing[1:] if part for path in part.paths)
        found = contents(self.root, paths, self.cache_dir)
        names = digest([*self.listing.classes, *zip(paths, found.sizes, strict=True)])
        return fingerprint(names, found.digest)

    def load(self) -> Splits:
        train, test, validation = self.listing.train, self.listing.test, self.listing.validation
        kept, held_out = self.select(train.labels)
        if self.validation:
            validation = train.take(held_out)
        train = train.take(kept)
        # In the order of their names, so that one cache serves every way of splitting the same files.
        paths = sorted(train.paths + test.paths + (validation.paths if validation else []))
        if self._stays_on_disk(len(paths)):
            readable = self._readable(paths)
            return Splits(
                self._on_disk("training", train, readable),
                self._on_disk("test", test, readable),
                self._on_disk("validation", validation, readable) if validation else None,
            )
        decoded = self._decoded(paths)
        return Splits(
            self._part("training", train, decoded),
            self._part("test", test, decoded),
            self._part("validation", validation, decoded) if validation else None,
        )

    def _part(self, name: str, files: Files, decoded: "_Decoded") -> Images:
        """The images of these files, less the unreadable ones, in the order of their names."""
        order = self._order(name, files, decoded.rows)
        rows = torch.tensor([decoded.rows[files.paths[i]] for i in order])
        return Images(take_rows(decoded.images, rows), files.labels[torch.tensor(order)])

    def _on_disk(self, name: str, files: Files, readable: Container[str]) -> ImageFiles:
        """These files, less the unreadable ones, in the order of their names."""
        order = self._order(name, files, readable)
        return ImageFiles(
            self.root,
            as_bytes([files.paths[i] for i in order]),
            files.labels[torch.tensor(order)],
            CenterSquare(self.spec.image_size, self.spec.channels),
            skip=self.corrupt == "skip",
            workers=self.workers,
        )

    def _order(self, name: str, files: Files, readable: Container[str]) -> list[int]:
        """Positions of the readable files, in the order of their names.

        Raises:
            UserError: A class has none.
        """
        order = sorted((i for i, path in enumerate(files.paths) if path in readable), key=files.paths.__getitem__)
        left = files.labels[torch.tensor(order, dtype=torch.int64)].bincount(minlength=self.spec.num_classes).tolist()
        lost = [name for name, count in zip(self.spec.classes, left, strict=True) if count == 0]
        if lost:
            raise UserError(f"No readable image in the {name} part of class {some(lost)} of {self.root}.")
        return order

    def _decoded(self, paths: list[str]) -> "_Decoded":
        """The images of these files, from the cache or into it."""
        size, channels = self.spec.image_size, self.spec.channels
        shape = (len(paths), channels, size, size)
        folder = self.cache_dir / "folders" / self._cache_name(paths)
        images, unreadable = load_or_build(
            folder, partial(_read_cache, shape=shape), partial(self._build_cache, paths), option="dataset.cache_dir"
        )
        if unreadable and self.corrupt == "stop":
            self._stop(paths, unreadable)
        self._tell_skipped(paths, unreadable)
        rows = {path: row for row, path in enumerate(paths) if row not in unreadable}
        return _Decoded(torch.from_numpy(images), rows)

    def _readable(self, paths: list[str]) -> set[str]:
        """Those of these files that a decoded folder would hold, so that storage changes neither images nor steps.

        With ``corrupt=skip``, every file is decoded once to see; what is found is kept in the cache.
        """
        if self.corrupt == "stop":
            return set(paths)
        unreadable = load_or_build(
            self.cache_dir / "unreadable" / self._cache_name(paths),
            _read_unreadable,
            partial(self._build_unreadable, paths),
            option="dataset.cache_dir",
        )
        self._tell_skipped(paths, unreadable)
        return {path for row, path in enumerate(paths) if row not in unreadable}

    def _tell_skipped(self, paths: list[str], unreadable: dict[int, str]) -> None:
        if unreadable:
            log.warning("%s: skipped %d unreadable of %d files", self.root, len(unreadable), len(paths))

    def _build_unreadable(self, paths: list[str], folder: Path) -> None:
        files = [self.root / path for path in paths]
        unreadable = find_unreadable(files, self.spec.image_size, self.spec.channels, name=self.spec.name)
        (folder / "unreadable.json").write_text(json.dumps(unreadable))

    def _build_cache(self, paths: list[str], folder: Path) -> None:
        files = [self.root / path for path in paths]
        size, channels = self.spec.image_size, self.spec.channels
        skip = self.corrupt == "skip"
        images, unreadable = decode_all(files, size, channels, name=self.spec.name, keep_going=skip)
        if unreadable and not skip:
            self._stop(paths, unreadable)
        np.save(folder / "images.npy", images)
        about = {"crc32": zlib.crc32(images.data), "unreadable": unreadable}
        (folder / "about.json").write_text(json.dumps(about))

    def _cache_name(self, paths: list[str]) -> str:
        """The folder of a cache, named after everything that makes the pixels of these files."""
        size, channels = self.spec.image_size, self.spec.channels
        key = digest([_CACHE_FORMAT, size, channels, *contents(self.root, paths, self.cache_dir).key])
        return f"{self.root.name}-{size}px-{key}"

    def _stop(self, paths: list[str], unreadable: dict[int, str]) -> NoReturn:
        named = [f"{self.root / paths[row]} ({reason})" for row, reason in unreadable.items()]
        raise UserError(
            f"Cannot read {some(named)}. Mend or remove what is damaged, or use dataset.corrupt=skip to leave out "
            "all such files."
        )

    def _stays_on_disk(self, count: int) -> bool:
        """Whether so many images are left where they are.

        Raises:
            UserError: they are to be in memory and do not fit.
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
        log.warning("%s: they are read from disk as training goes (dataset.storage=auto).", too_large)
        return True

    def _size_of_first(self) -> int:
        path = self.root / self.listing.train.paths[0]
        try:
            with Image.open(path) as image:
                width, height = image.size
        except Exception as error:  # a damaged file can raise anything
            raise UserError(f"Cannot read {path} to see its size ({error}): give dataset.image_size.") from error
        if width != height:
            raise UserError(f"{path} is {width} x {height} pixels, not square: give dataset.image_size.")
        return width


class _Decoded(NamedTuple):
    images: Tensor  # (N, channels, size, size) uint8, memory-mapped
    rows: dict[str, int]  # of the readable files


def _read_cache(folder: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], dict[int, str]] | None:
    """Decoded images and why some are unreadable; None where the cache is missing or damaged."""
    try:
        about = json.loads((folder / "about.json").read_text())
        # Mapped copy-on-write: read from the file as needed, shared among processes, never written back.
        images = np.load(folder / "images.npy", mmap_mode="c")
        whole = images.shape == shape and images.dtype == np.uint8 and zlib.crc32(images.data) == about["crc32"]
        unreadable = _by_row(about["unreadable"])
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        log.warning("The cache %s is damaged: decoding again", folder)
        return None
    return images, unreadable


def _read_unreadable(folder: Path) -> dict[int, str] | None:
    """Why which files are unreadable, by row; None where this was not found out, or the cache is damaged."""
    try:
        return _by_row(json.loads((folder / "unreadable.json").read_text()))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _by_row(reasons: dict[str, str]) -> dict[int, str]:
    return {int(row): str(reason) for row, reason in reasons.items()}
