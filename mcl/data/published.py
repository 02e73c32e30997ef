"""Published datasets, read from an existing folder or downloaded at first use."""

import hashlib
import pickle
import tarfile
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch

from mcl.console import summarize
from mcl.data.augmentation import Augmentation
from mcl.data.cache import cache_folder, load_or_build
from mcl.data.dataset import Images, InMemoryDataset
from mcl.data.fingerprint import digest, fingerprint
from mcl.errors import UserError
from mcl.files import expand_home

Parts = tuple[Images, Images]


class Published(InMemoryDataset):
    """A dataset whose facts are known in advance. A subclass defines them, and how its files are found and read.

    Args:
        root: folder of the files, which are downloaded to it if it is empty; None for a folder of the system that has
            them, or else ``downloads`` in ``$MCL_CACHE`` or in the platform's cache folder, where they are downloaded
            if they are missing.
        augmentation, limit, validation, seed: as for every :class:`~mcl.data.dataset.Dataset`.
        mean, std: None for the dataset's own.

    Raises:
        UserError: As in `Dataset`.
    """

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    channels: ClassVar[int]
    image_size: ClassVar[int]
    train_per_class: ClassVar[int]
    own_mean: ClassVar[tuple[float, ...]]
    own_std: ClassVar[tuple[float, ...]]
    subfolder: ClassVar[str]  # below the root, as torchvision lays it out
    system_folder: ClassVar[Path | None] = None
    sources: ClassVar[Sequence[str]] = ()  # files of which some suffice to fetch the others

    def __init__(
        self,
        root: str | None = None,
        augmentation: Augmentation | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        limit: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ):
        super().__init__(
            name=self.name,
            classes=self.classes,
            channels=self.channels,
            image_size=self.image_size,
            counts=[self.train_per_class] * len(self.classes),
            mean=mean or self.own_mean,
            std=std or self.own_std,
            augmentation=augmentation,
            limit=limit,
            validation=validation,
            seed=seed,
        )
        self.root = expand_home(root) if root else cache_folder() / "downloads"
        self.may_fetch = True  # whether missing files may be downloaded to the root
        self._chosen = bool(root)
        self._contents: str | None = None  # hash of the images, once they were read
        self.places = [self.root, self.root / self.subfolder]
        if not root and self.system_folder:
            self.places.insert(0, self.system_folder)

    @abstractmethod
    def parse(self, folder: Path) -> Parts | None:
        """Return the training and the test split; None if files are missing. Damaged files may raise anything."""

    @abstractmethod
    def fetch(self, folder: Path) -> None:
        """Put the files into an empty folder, from the network or from an archive in the root."""

    @property
    @abstractmethod
    def required_files(self) -> str:
        """The files that belong into the root if there is no network."""

    def fingerprint(self) -> str:
        """Identify the set by its name and, if its files are present, by all pixels and labels in them.

        Raises:
            UserError: The files are damaged or incomplete.
        """
        names = digest([self.name, len(self.classes), self.train_per_class])
        if self._contents is None and (splits := self._find()) is not None:
            self._contents = _digest(splits)
        return names if self._contents is None else fingerprint(names, self._contents)

    def read(self) -> Parts:
        parts = self._find()
        if parts is None and not self.may_fetch:
            raise UserError(f"dataset.root={self.root} does not hold {self.name}. Give its folder with dataset.root.")
        if parts is None:
            self._refuse_wrong_root()
            parts = load_or_build(self.root / self.subfolder, self._read, self._fetch, option="dataset.root")
        self._contents = _digest(parts)
        return parts

    def _refuse_wrong_root(self) -> None:
        """Raise UserError if the user chose a root that cannot be meant for a download."""
        if not self._chosen or any((place / name).is_file() for place in self.places for name in self.sources):
            return
        problem = "does not exist"
        if self.root.exists():
            names = sorted(entry.name for entry in self.root.iterdir()) if self.root.is_dir() else ["a file"]
            visible = [name for name in names if not name.startswith(".")]
            if not visible:
                return
            problem = f"has none of its files, but {summarize(visible, 3)}"
        raise UserError(
            f"dataset.root={self.root}: {self.name} is not there; the folder {problem}. Give the folder that has"
            f" {self.required_files}; or omit dataset.root, or give an empty folder, to download {self.name}."
        )

    def _find(self) -> Parts | None:
        """Return the splits from the first place that has the files; None if there is none."""
        return next((splits for place in self.places if (splits := self._read(place)) is not None), None)

    def _read(self, folder: Path) -> Parts | None:
        remedy = "Remove them to download them again, or choose another folder with dataset.root."
        try:
            splits = self.parse(folder)
        except (OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zlib.error) as error:
            raise UserError(f"The files of {self.name} in {folder} are damaged ({error}). {remedy}") from error
        if splits is not None:
            counts = splits[0].labels.bincount(minlength=len(self.classes)).tolist()
            expected = [self.train_per_class] * len(self.classes)
            if counts != expected:
                raise UserError(
                    f"The files of {self.name} in {folder} have {sum(counts):,} training images where"
                    f" {sum(expected):,} are expected, equally many of each class. {remedy}"
                )
        return splits

    def _fetch(self, folder: Path) -> None:
        try:
            self.fetch(folder)
        except (OSError, EOFError, RuntimeError, KeyError, tarfile.TarError, zlib.error) as error:
            raise UserError(
                f"Cannot get {self.name}: {str(error).rstrip('.')}. Without a network, put {self.required_files} into"
                f" {self.root}, or set dataset.root to the folder that has the files."
            ) from error


def download(url: str, folder: Path, md5: str) -> Path:
    """Download a file and verify its checksum.

    Raises:
        OSError, RuntimeError: The download fails, or the checksum differs.
    """
    from torchvision.datasets.utils import download_url  # slow to import, and needed once

    download_url(url, str(folder), md5=md5)
    return folder / url.rsplit("/", 1)[1]


def as_images(pixels: torch.Tensor, labels: torch.Tensor) -> Images:
    """Combine pixels (N, C, H, W) and labels (N,).

    Raises:
        ValueError: Their numbers differ or are zero.
    """
    if len(pixels) != len(labels) or len(pixels) == 0:
        raise ValueError(f"{len(pixels)} images but {len(labels)} labels")
    return Images(pixels.contiguous(), labels.long())


def _digest(splits: Parts) -> str:
    state = hashlib.sha256()
    for split in splits:
        for tensor in split:
            state.update(tensor.contiguous().numpy().data)
    return state.hexdigest()[:16]
