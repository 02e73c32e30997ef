"""Generated images that replace a dataset that is not on this machine: the same number, size and classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mcl.config.instantiate import build
from mcl.config.targets import resolve
from mcl.data.dataset import Dataset, Splits
from mcl.data.image_files import CenterSquare, ImageFiles, TransformPipeline, as_bytes, check_workers
from mcl.data.imagenet import CLASSES, IMAGES, TEST, TRAIN, ImageNet
from mcl.data.placement import DeviceCrop, RandomPlacement
from mcl.data.published import Published

STAND_INS = __name__  # entry of ``allow_modules``
COMMON = ("mean", "std", "limit", "validation", "seed")  # options of every dataset
FILES = 64
PIXELS = (500, 375)  # a typical file of ImageNet, of about 110 kB
QUALITY, NOISE = 90, 12


def stand_in(node: Mapping[str, Any], allow: Sequence[str], folder: Path) -> dict[str, Any] | None:
    """Return the configuration of generated images for a published dataset that is not here; None if it is here.

    Other datasets have none, because the number of their images is unknown.

    Args:
        node: ``dataset`` of a configuration, resolved.
        allow: ``allow_modules`` of the configuration.
        folder: folder for the image files, if the dataset consists of files.

    Raises:
        UserError: the dataset cannot be built.
    """
    kind = resolve(node["_target_"], path="dataset", allow=allow)
    if kind is ImageNet and not node.get("root"):
        make_files(folder)
        kept = ["transform", "image_size", "resize", "workers", "decode", *COMMON]
        return {
            "_target_": f"{STAND_INS}.GeneratedImageNet",
            "folder": str(folder),
            **{key: node[key] for key in kept if key in node},
        }
    dataset = build(node, path="dataset", allow=allow)
    if not isinstance(dataset, Published) or any(_has_files(dataset, place) for place in dataset.places):
        return None
    kept = ["augmentation", *COMMON]
    return {
        "_target_": "mcl.data.synthetic.Synthetic",
        "classes": len(dataset.classes),
        "channels": dataset.channels,
        "image_size": dataset.image_size,
        "train_per_class": dataset.train_per_class,
        "test_per_class": 1,  # nothing is evaluated
        **{key: node[key] for key in kept if key in node},
    }


def _has_files(dataset: Published, place: Path) -> bool:
    try:
        return dataset.parse(place) is not None
    except Exception:  # damaged files, which training reports
        return True


def make_files(folder: Path) -> None:
    """Write JPEG files that are as large and as slow to decode as those of ImageNet, unless the folder has files."""
    if any(folder.iterdir()):
        return
    rng = np.random.default_rng(0)
    for number in range(FILES):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(PIXELS)
        noisy = np.asarray(coarse) + rng.normal(0, NOISE, (PIXELS[1], PIXELS[0], 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=QUALITY)


class GeneratedImageNet(Dataset):
    """The images and classes of ImageNet in number, read in the same way, from a few files over and over.

    Args:
        folder: written by `make_files`.
        transform, image_size, resize, workers, decode: see `mcl.data.imagenet.ImageNet`.
        mean, std, limit, validation, seed: see `mcl.data.dataset.Dataset`.
    """

    def __init__(
        self,
        folder: str,
        transform: Sequence[Callable[..., object]] = (),
        image_size: int = 224,
        resize: int = 256,
        workers: int | None = None,
        decode: str = "cpu",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        limit: int | None = None,
        validation: float = 0.0,
        seed: int = 0,
    ):
        self.counts = {split: _spread(IMAGES[split]) for split in (TRAIN, TEST)}
        super().__init__(
            name="imagenet",
            classes=ImageNet.published_classes(),
            channels=3,
            image_size=image_size,
            counts=self.counts[TRAIN],
            mean=mean or ImageNet.own_mean,
            std=std or ImageNet.own_std,
            augmentation=None,
            limit=limit,
            validation=validation,
            seed=seed,
        )
        self.folder = Path(folder)
        self.transform = TransformPipeline(list(transform), image_size, 3)
        self.plain = CenterSquare(image_size, 3, resize)
        self.workers = check_workers(workers)
        self.device_crop = None
        if decode == "gpu":
            self.device_crop = DeviceCrop(RandomPlacement(transform, image_size), image_size, 3)

    def fingerprint(self) -> str:
        return "generated"

    def load(self) -> Splits:
        train = self._files(TRAIN, self.transform if self.transform.transforms else self.plain)
        train = replace(train, device_crop=self.device_crop)
        kept, held_out = self.select(train.labels)
        validation = train.take(held_out) if self.validation else None
        return Splits(train.take(kept), self._files(TEST, self.plain), validation)

    def _files(self, split: str, decode: CenterSquare | TransformPipeline) -> ImageFiles:
        labels = torch.arange(CLASSES).repeat_interleave(torch.tensor(self.counts[split]))
        names = as_bytes([path.name for path in sorted(self.folder.iterdir())])
        return ImageFiles(self.folder, np.resize(names, len(labels)), labels, decode, skip=False, workers=self.workers)


def _spread(images: int) -> list[int]:
    """Return the number of images of each class, as even as possible."""
    return [images // CLASSES + (label < images % CLASSES) for label in range(CLASSES)]
