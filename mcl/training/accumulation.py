"""Accumulate gradients over the chunks of a batch, so that its feature maps need not fit into memory together.

Contrast compares all images of a batch, so the gradient of a batch is not the sum of those of its chunks. It is still
exact as in GradCache (Gao et al., RepL4NLP 2021, arXiv 2101.06983): run all chunks without a graph, keep the pooled
features and the logits, differentiate the loss of the whole batch with respect to these, then run each chunk once more
and propagate its share of that gradient. This costs one more forward pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mcl import distributed
from mcl.distributed.sharding import SMALLEST, Split
from mcl.errors import UserError
from mcl.training.random_state import random_state, set_random_state
from mcl.training.train_step import TrainStep
from mcl.types import Batch, Outputs

IMAGES = -4  # dimension of the images of a batch, with or without views


class AccumulatedStep(TrainStep):
    """A `TrainStep` whose networks see a batch in chunks.

    The result is that of the whole batch, except that batch normalization normalizes by the statistics of a chunk. Its
    running statistics move once for each chunk. Random layers draw the same numbers both times.

    Args:
        chunks: number of chunks; fewer if a small batch would give chunks of one image.
        arguments, options: as for `TrainStep`; the learner itself is the model, whose gradients are averaged here.
    """

    def __init__(self, chunks: int, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.chunks = chunks

    def backpropagate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], list[Outputs]]:
        learner, device = self.learner, batch.images.device
        pieces = count_chunks(self.chunks, batch)
        chunks = batch.images.tensor_split(pieces, dim=IMAGES)
        states, first, teaching = [], [], []
        for images in chunks:
            states.append(random_state(device))
            with torch.no_grad(), _fixed_statistics(learner.cohort):
                first.append(learner.run_networks(images))
            if learner.loss.needs_ema:
                teaching.append(learner.run_teachers(images))
        outputs = _join(first)
        for tensor in _tensors(outputs):
            tensor.requires_grad_()
        self.optimizer.zero_grad(set_to_none=True)
        total, terms = learner.judge(outputs, batch, _join(teaching) if teaching else None)
        self.start_backward(total, batch)
        after = random_state(device)
        gradients = [None if each.grad is None else each.grad.tensor_split(pieces) for each in _tensors(outputs)]
        for i, (images, state) in enumerate(zip(chunks, states, strict=True)):
            set_random_state(state, device)
            again = zip(_tensors(learner.run_networks(images)), gradients, strict=True)
            pairs = [(tensor, parts[i]) for tensor, parts in again if parts is not None and tensor.requires_grad]
            torch.autograd.backward([tensor for tensor, _ in pairs], [gradient for _, gradient in pairs])
        set_random_state(after, device)
        self._average_gradients()
        return total, terms, outputs

    def _average_gradients(self) -> None:
        """Average the gradients over processes."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        for gradient, average in zip(gradients, distributed.all_reduce_mean(gradients), strict=True):
            if average is not gradient:
                gradient.copy_(average)


def count_chunks(most: int, batch: Batch) -> int:
    """Return the number of chunks of a batch, each of two images or more: the same in every process.

    Synchronized batch normalization waits for the other processes in each forward pass.
    """
    images = len(batch.labels) if batch.whole is None else Split(batch.whole, distributed.world_size()).shortest
    return max(1, min(most, images // SMALLEST))


def check_accumulation(chunks: int, batch_size: int, processes: int, *, overwritten: bool = False) -> None:
    """Raise UserError unless the part of a batch of each process divides into chunks of at least two images.

    Args:
        chunks: number of chunks.
        batch_size: images of all processes.
        processes: number of processes.
        overwritten: a call of the networks writes over the outputs and gradients of the one before.
    """
    if chunks > 1 and overwritten:
        raise UserError(
            f"trainer.accumulate={chunks}: trainer.compile=reduce-overhead would overwrite the outputs of each chunk by"
            " those of the next one. Use trainer.compile=true."
        )
    if chunks > 1 and (batch_size % (chunks * processes) or batch_size < SMALLEST * chunks * processes):
        several = f" on each of {processes} processes" if processes > 1 else ""
        raise UserError(
            f"trainer.accumulate={chunks}: trainer.batch_size={batch_size} does not divide into {chunks} chunks"
            f"{several} of at least {SMALLEST} images. Use a multiple of {chunks * processes}, at least"
            f" {SMALLEST * chunks * processes}."
        )


@contextmanager
def _fixed_statistics(networks: nn.Module) -> Iterator[None]:
    """Keep batch normalization from moving its running statistics; it still normalizes by those of the chunk."""
    layers = [each for each in networks.modules() if isinstance(each, _BatchNorm)]
    layers = [each for each in layers if each.training and each.track_running_stats]
    try:
        for layer in layers:
            layer.track_running_stats = False
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def _join(parts: Sequence[list[Outputs]]) -> list[Outputs]:
    """Concatenate the outputs of chunks, network by network."""
    return [
        Outputs(
            *([torch.cat(tensors) for tensors in zip(*field, strict=True)] for field in zip(*networks, strict=True))
        )
        for networks in zip(*parts, strict=True)
    ]


def _tensors(outputs: Sequence[Outputs]) -> list[Tensor]:
    return [tensor for network in outputs for field in network for tensor in field]
