"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32 x 32 (Krizhevsky, 2009)."""

import io
import pickle
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch

from mcl.data.dataset import Images
from mcl.data.published import Parts, Published, as_images, download

_SITE = "https://www.cs.toronto.edu/~kriz/"
_FINE_LABELS = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


class _Cifar(Published):
    """Base class of CIFAR-10 and CIFAR-100, read from the files of their "python version"."""

    channels = 3
    image_size = 32
    archive: ClassVar[str]
    md5: ClassVar[str]
    train_files: ClassVar[tuple[str, ...]]
    test_files: ClassVar[tuple[str, ...]]
    label_key: ClassVar[bytes]

    @property
    def required_files(self) -> str:
        return f"{self.archive} (or the folder {self.subfolder}/ inside it)"

    def parse(self, folder: Path) -> Parts | None:
        if not all((folder / name).is_file() for name in self.train_files + self.test_files):
            return None
        return self._part(folder, self.train_files), self._part(folder, self.test_files)

    def fetch(self, folder: Path) -> None:
        archive = self.root / self.archive
        with TemporaryDirectory(dir=folder.parent) as temporary:
            if not archive.is_file():
                archive = download(_SITE + self.archive, Path(temporary), self.md5)
            with tarfile.open(archive) as tar:
                for name in self.train_files + self.test_files:
                    file = tar.extractfile(f"{self.subfolder}/{name}")
                    if file is None:
                        raise OSError(f"{name} in {archive} is not a file")
                    (folder / name).write_bytes(file.read())

    def _part(self, folder: Path, names: tuple[str, ...]) -> Images:
        batches = [_unpickle((folder / name).read_bytes()) for name in names]
        pixels = np.concatenate([batch[b"data"] for batch in batches])
        labels = np.concatenate([batch[self.label_key] for batch in batches])
        side = self.image_size
        return as_images(torch.from_numpy(pixels).view(-1, self.channels, side, side), torch.from_numpy(labels))


class Cifar10(_Cifar):
    __doc__ = f"CIFAR-10.\n{Published.__doc__}"

    name = "cifar10"
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    train_per_class = 5000
    own_mean = (0.4914, 0.4822, 0.4465)
    own_std = (0.2470, 0.2435, 0.2616)
    subfolder = "cifar-10-batches-py"
    archive = "cifar-10-python.tar.gz"
    sources = (archive,)
    md5 = "c58f30108f718f92721af3b95e74349a"
    train_files = tuple(f"data_batch_{number}" for number in range(1, 6))
    test_files = ("test_batch",)
    label_key = b"labels"


class Cifar100(_Cifar):
    __doc__ = f"CIFAR-100, with its 100 fine labels.\n{Published.__doc__}"

    name = "cifar100"
    classes = tuple(_FINE_LABELS.split())
    train_per_class = 500
    own_mean = (0.5071, 0.4867, 0.4408)
    own_std = (0.2675, 0.2565, 0.2761)
    subfolder = "cifar-100-python"
    archive = "cifar-100-python.tar.gz"
    sources = (archive,)
    md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_files = ("train",)
    test_files = ("test",)
    label_key = b"fine_labels"


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain values and numpy arrays only, since a pickle could otherwise run any code."""

    allowed = frozenset({"_reconstruct", "ndarray", "dtype", "_frombuffer"})

    def find_class(self, module: str, name: str) -> Any:
        if (module.split(".")[0] == "numpy" and name in self.allowed) or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in this file")


def _unpickle(content: bytes) -> dict[bytes, Any]:
    batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(batch, dict):
        raise ValueError(f"a {type(batch).__name__} instead of a dictionary")
    return batch
