"""Data loading: datasets, samplers, augmentation and loaders.

A dataset of your own subclasses `Dataset`, or `InMemoryDataset` if its images fit into memory; a sampler of your own
subclasses `Sampler`.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.data.augmentation import Augmentation
    from mcl.data.dataset import Dataset, Images, InMemoryDataset, Splits
    from mcl.data.fingerprint import digest
    from mcl.data.preprocessing import Preprocessing
    from mcl.data.samplers import Sampler

__all__ = ["Augmentation", "Dataset", "Images", "InMemoryDataset", "Preprocessing", "Sampler", "Splits", "digest"]
__getattr__ = lazy_exports(
    __name__,
    {
        "augmentation": ["Augmentation"],
        "dataset": ["Dataset", "Images", "InMemoryDataset", "Splits"],
        "fingerprint": ["digest"],
        "preprocessing": ["Preprocessing"],
        "samplers": ["Sampler"],
    },
)
