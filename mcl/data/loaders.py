"""Choose the loader for a part of a dataset: from the device or from disk."""

from collections.abc import Iterator
from typing import Any

from mcl.data.dataset import Dataset, Images
from mcl.data.device_loader import Loader, evaluation_batches
from mcl.data.disk_loader import StreamingLoader, streamed_evaluation
from mcl.data.image_files import ImageFiles
from mcl.data.samplers import Sampler
from mcl.types import Batch


def training_batches(
    part: Images | ImageFiles, dataset: Dataset, sampler: Sampler, **options: Any
) -> Loader | StreamingLoader:
    """The loader of a training part; ``options`` as for `Loader`."""
    make = StreamingLoader if isinstance(part, ImageFiles) else Loader
    return make(part, sampler, dataset.augmentation, dataset.mean, dataset.std, **options)  # type: ignore[arg-type]


def batches_in_order(part: Images | ImageFiles, dataset: Dataset, **options: Any) -> Iterator[Batch]:
    """All images of a part in order, as they are; ``options`` as for `evaluation_batches`."""
    if isinstance(part, ImageFiles):
        return streamed_evaluation(part, dataset.mean, dataset.std, **options)
    return evaluation_batches(part, dataset.mean, dataset.std, **options)
