"""Published datasets: read from an existing folder, or downloaded at first use."""

import hashlib
import pickle
import tarfile
import zlib
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import torch

from mcl.data.augmentation import Augmentation
from mcl.data.cache import cache_folder, load_or_build
from mcl.data.dataset import Images, InMemoryDataset, digest
from mcl.data.fingerprint import fingerprint
from mcl.errors import UserError

Parts = tuple[Images, Images]


class Published(InMemoryDataset):
    """A dataset whose facts are known beforehand. A subclass states them and says how its files are found and read.

    Args:
        root: folder that has the files or shall get them; None for a place where the system keeps them, or else
            ``downloads`` in ``$MCL_CACHE`` or in the platform's cache folder.
        augmentation, limit, validation, seed: as for every dataset, see :class:`~mcl.data.dataset.Dataset`.
        mean, std: None for the set's own.
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
        self.root = Path(root).expanduser() if root else cache_folder() / "downloads"
        self._contents: str | None = None  # hash of the images, once they were read
        self.places = [self.root, self.root / self.subfolder]
        if not root and self.system_folder:
            self.places.insert(0, self.system_folder)

    @abstractmethod
    def parse(self, folder: Path) -> Parts | None:
        """The training and the test part; None where the files are not there. Damaged files may raise anything."""

    @abstractmethod
    def fetch(self, folder: Path) -> None:
        """Put the files into an empty folder, from the network or an archive in the root."""

    @property
    @abstractmethod
    def wanted(self) -> str:
        """Which files to put into the root without a network."""

    def fingerprint(self) -> str:
        """Identify the set by its name and, where its files are here already, by all pixels and labels in them."""
        names = digest([self.name, len(self.classes), self.train_per_class])
        if self._contents is None and (found := self._found()) is not None:
            self._contents = _digest(found)
        return names if self._contents is None else fingerprint(names, self._contents)

    def read(self) -> Parts:
        parts = self._found()
        if parts is None:
            parts = load_or_build(self.root / self.subfolder, self._read, self._fetch, option="dataset.root")
        self._contents = _digest(parts)
        return parts

    def _found(self) -> Parts | None:
        """The parts where their files are already; None if they are nowhere."""
        return next((parts for place in self.places if (parts := self._read(place)) is not None), None)

    def _read(self, folder: Path) -> Parts | None:
        try:
            parts = self.parse(folder)
        except (OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zlib.error) as error:
            raise UserError(f"The files of {self.name} in {folder} are damaged ({error}). {self._remedy}") from error
        if parts is not None:
            counts = parts[0].labels.bincount(minlength=len(self.classes)).tolist()
            if counts != [self.train_per_class] * len(self.classes):
                raise UserError(
                    f"The files of {self.name} in {folder} have {sum(counts):,} training images where "
                    f"{self.train_per_class * len(self.classes):,} are expected, as many of each class. {self._remedy}"
                )
        return parts

    @property
    def _remedy(self) -> str:
        return "Remove them to have them downloaded again, or choose another folder with dataset.root."

    def _fetch(self, folder: Path) -> None:
        try:
            self.fetch(folder)
        except (OSError, EOFError, RuntimeError, KeyError, tarfile.TarError, zlib.error) as error:
            raise UserError(
                f"Cannot get {self.name}: {str(error).rstrip('.')}. Without a network, put {self.wanted} into "
                f"{self.root}, or say where the files are with dataset.root."
            ) from error


def _digest(parts: Parts) -> str:
    state = hashlib.sha256()
    for part in parts:
        for tensor in part:
            state.update(tensor.contiguous().numpy().data)
    return state.hexdigest()[:16]


def download(url: str, folder: Path, md5: str) -> Path:
    """A file from the network, its checksum verified.

    Raises:
        OSError, RuntimeError: when it cannot be had, or is not what it should be.
    """
    from torchvision.datasets.utils import download_url  # slow to import, and needed once

    download_url(url, str(folder), md5=md5)
    return folder / url.rsplit("/", 1)[1]


def as_images(pixels: torch.Tensor, labels: torch.Tensor) -> Images:
    """Pixels (N, C, H, W) with as many labels.

    Raises:
        ValueError: when there are not as many, or no images.
    """
    if len(pixels) != len(labels) or len(pixels) == 0:
        raise ValueError(f"{len(pixels)} images but {len(labels)} labels")
    return Images(pixels.contiguous(), labels.long())
