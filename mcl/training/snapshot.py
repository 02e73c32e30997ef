"""Record the data for figures during an evaluation."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from mcl.data.dataset import Dataset
from mcl.distributed.process_group import ProcessGroup
from mcl.tracking.tracker import Snapshot
from mcl.training.evaluation import BACKBONE, ENSEMBLE
from mcl.types import Batch

SAMPLES = 24  # images in a snapshot


class SnapshotRecorder:
    """Record predictions and some images of one evaluation; until the snapshot, everything stays on the device.

    Args:
        dataset: dataset of the images.
        count: number of images of the split.
        processes: the processes that evaluate together, each a shard. The first one selects the images to show.
    """

    def __init__(self, dataset: Dataset, count: int, processes: ProcessGroup):
        self.dataset = dataset
        self.processes = processes
        self._every = max(1, count // processes.world_size // SAMPLES)
        self._seen = 0
        self._images: list[Tensor] = []
        self._chosen: list[int] = []  # positions of the images in the shard
        self._labels: list[Tensor] = []
        self._predicted: dict[str, list[Tensor]] = {}
        self._confidence: dict[str, list[Tensor]] = {}

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and keep some of their images."""
        for batch in batches:
            first = -self._seen % self._every
            chosen = list(range(first, len(batch.labels), self._every))[: SAMPLES - len(self._chosen)]
            if chosen:  # a slice: the device would wait for a list of indices
                self._images.append(batch.images[first :: self._every][: len(chosen)].clone())
                self._chosen += [self._seen + i for i in chosen]
            self._seen += len(batch.labels)
            yield batch

    def on_batch(self, heads: Mapping[str, Tensor], labels: Tensor) -> None:
        """Record logits (B, classes) by head, and the labels (B,), of the last batch."""
        self._labels.append(labels)
        for head, logits in heads.items():
            network, _, name = head.rpartition("/")
            if name in (BACKBONE, ENSEMBLE):
                confidence, predicted = logits.softmax(-1).max(-1)
                self._predicted.setdefault(network or name, []).append(predicted)
                self._confidence.setdefault(network or name, []).append(confidence)

    def snapshot(self) -> Snapshot:
        """Return the snapshot, on the host. Every process must call this."""
        labels = torch.cat(self._labels).cpu()
        predicted = {name: torch.cat(parts).cpu() for name, parts in self._predicted.items()}
        confidence = {name: torch.cat(parts).cpu() for name, parts in self._confidence.items()}
        shards = self.processes.all_gather_object((labels, predicted))
        return Snapshot(
            classes=self.dataset.spec.classes,
            labels=torch.cat([shard[0] for shard in shards]),
            predicted={name: torch.cat([shard[1][name] for shard in shards]) for name in predicted},
            images=self._denormalize(torch.cat(self._images)),
            image_labels=labels[self._chosen],
            image_predicted={name: values[self._chosen] for name, values in predicted.items()},
            image_confidence={name: values[self._chosen] for name, values in confidence.items()},
        )

    def _denormalize(self, images: Tensor) -> Tensor:
        """Return normalized images as uint8."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.dataset.mean, self.dataset.std))
        return (255 * (images.float().cpu() * std + mean)).round().clamp(0, 255).to(torch.uint8)
