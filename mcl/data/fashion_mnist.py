"""Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28 x 28 grey (Xiao, Rasul and Vollgraf, 2017)."""

import gzip
from pathlib import Path

import numpy as np
import torch

from mcl.data.dataset import Images
from mcl.data.published import Parts, Published, as_images, download

_SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FILES = {  # with their MD5 checksums
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


class FashionMNIST(Published):
    __doc__ = f"Fashion-MNIST, from its idx files, packed or not.\n{Published.__doc__}"

    name = "fashion_mnist"
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    channels = 1
    image_size = 28
    train_per_class = 6000
    own_mean = (0.2860,)
    own_std = (0.3530,)
    subfolder = "FashionMNIST/raw"
    system_folder = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
    wanted = ", ".join(_FILES)

    def parse(self, folder: Path) -> Parts | None:
        paths = [next(filter(Path.is_file, (folder / name, folder / name[:-3])), None) for name in _FILES]
        train_images, train_labels, test_images, test_labels = (read_idx(path) if path else None for path in paths)
        if train_images is None or train_labels is None or test_images is None or test_labels is None:
            return None
        return self._part(train_images, train_labels), self._part(test_images, test_labels)

    def fetch(self, folder: Path) -> None:
        for name, md5 in _FILES.items():
            download(_SITE + name, folder, md5)

    def _part(self, images: torch.Tensor, labels: torch.Tensor) -> Images:
        if images.shape[1:] != (self.image_size, self.image_size):
            raise ValueError(f"images of shape {tuple(images.shape[1:])}")
        return as_images(images[:, None], labels)


def read_idx(path: Path) -> torch.Tensor:
    """The uint8 array in an idx file, packed or not.

    Such a file has two zero bytes, type 8, the number of dimensions, their sizes as big-endian int32, and the data.

    Raises:
        OSError, EOFError, ValueError, zlib.error: when it is no such file.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} is no idx file of bytes")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4).tolist()
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
