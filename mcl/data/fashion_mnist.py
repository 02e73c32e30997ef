"""Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28 x 28 gray (Xiao, Rasul and Vollgraf, 2017)."""

import gzip
from pathlib import Path

import numpy as np
import torch

from mcl.data.dataset import Images
from mcl.data.published import Parts, Published, as_images, download

_SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FILES = {  # file name -> MD5 checksum
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


class FashionMNIST(Published):
    __doc__ = f"Fashion-MNIST, read from its idx files, compressed or not.\n{Published.__doc__}"

    name = "fashion_mnist"
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    channels = 1
    image_size = 28
    train_per_class = 6000
    own_mean = (0.2860,)
    own_std = (0.3530,)
    subfolder = "FashionMNIST/raw"
    system_folder = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
    required_files = ", ".join(_FILES)
    sources = tuple(_FILES)

    def parse(self, folder: Path) -> Parts | None:
        arrays = []
        for name in _FILES:
            path = next((path for path in (folder / name, folder / name.removesuffix(".gz")) if path.is_file()), None)
            if path is None:
                return None
            arrays.append(read_idx(path))
        return self._part(*arrays[:2]), self._part(*arrays[2:])

    def fetch(self, folder: Path) -> None:
        for name, md5 in _FILES.items():
            download(_SITE + name, folder, md5)

    def _part(self, images: torch.Tensor, labels: torch.Tensor) -> Images:
        if images.shape[1:] != (self.image_size, self.image_size):
            raise ValueError(f"images of shape {tuple(images.shape[1:])}")
        return as_images(images[:, None], labels)


def read_idx(path: Path) -> torch.Tensor:
    """Read the uint8 array in an idx file, compressed or not.

    The file has two zero bytes, type 8, the number of dimensions, their sizes as big-endian int32, and the data.

    Raises:
        OSError, EOFError, ValueError, zlib.error: It is not such a file.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} is not an idx file of bytes")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4).tolist()
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
