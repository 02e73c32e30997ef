"""Where batches come from: datasets, samplers, augmentation and loaders.

A dataset of your own subclasses `Dataset`, or `InMemoryDataset` if its images fit into memory; a sampler of your own
subclasses `Sampler`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.data.augmentation import Augmentation
    from mcl.data.dataset import Dataset, Images, InMemoryDataset, Splits, digest
    from mcl.data.preprocessing import Preprocessing
    from mcl.data.samplers import Sampler

__all__ = ["Augmentation", "Dataset", "Images", "InMemoryDataset", "Preprocessing", "Sampler", "Splits", "digest"]
_FILES = {"Augmentation": "augmentation", "Preprocessing": "preprocessing", "Sampler": "samplers"}


def __getattr__(name: str) -> Any:  # on first use: these files import torch
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_FILES.get(name, 'dataset')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
