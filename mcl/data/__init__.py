"""Where batches come from: datasets, samplers, augmentation and loaders.

A dataset of your own subclasses `Dataset`, or `InMemoryDataset` if its images fit into memory; a sampler of your own
subclasses `Sampler`. Names are imported on first use, because most of them import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.data.augmentation import Augmentation
    from mcl.data.dataset import Dataset, Images, InMemoryDataset, Splits, digest
    from mcl.data.image_files import ImageFiles
    from mcl.data.loaders import TrainingLoader, batches_in_order
    from mcl.data.preprocessing import Preprocessing
    from mcl.data.samplers import Sampler

__all__ = [
    "Augmentation",
    "Dataset",
    "ImageFiles",
    "Images",
    "InMemoryDataset",
    "Preprocessing",
    "Sampler",
    "Splits",
    "TrainingLoader",
    "batches_in_order",
    "digest",
]
_FILES = {
    "Augmentation": "augmentation",
    "ImageFiles": "image_files",
    "Preprocessing": "preprocessing",
    "Sampler": "samplers",
    "TrainingLoader": "loaders",
    "batches_in_order": "loaders",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"mcl.data.{_FILES.get(name, 'dataset')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
