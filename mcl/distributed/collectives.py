"""Collectives of one training run, used inside a step. In a single process nothing is exchanged.

Every process holds the same parameters and its own share of each batch, in order of rank: together they see the batch
that one process would see alone. An objective is the mean over processes of what each computes, and a gradient is made
whole by the mean over processes of what each finds (`mean`), however often it is differentiated.

Where a batch does not divide evenly, `Split` says who takes which images and what the mean of each process counts
(`weight`); within `sharing` gathered tensors have one entry for each image of the batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mcl.distributed.sharding import Split

_split: Split | None = None  # of the batch that is being computed, where it is not even


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _several() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _several() else 0


@contextmanager
def sharing(images: int | None) -> Iterator[None]:
    """Within the block, this process computes its part of a batch of ``images``; None where all parts are equal."""
    global _split
    before = _split
    split = None if images is None else Split(images, world_size())
    _split = None if split is None or split.even else split
    try:
        yield
    finally:
        _split = before


def weight(images: int | None) -> float:
    """What this process's mean over its part of a batch of ``images`` counts in `mean`; 1 where all parts are equal."""
    return 1.0 if images is None else Split(images, world_size()).weight(rank())


def gather(tensor: Tensor, dim: int = 0) -> Tensor:
    """The tensors of all processes, concatenated in order of rank. Differentiable any number of times.

    They have one shape, except within `sharing`, where ``dim`` is that of the images.

    Its gradient is the sum over processes of what reaches this process's part. Where every process computes the same
    value from what it gathered, the mean of the processes' gradients is therefore the gradient of that value.

    Args:
        tensor: this process's.
        dim: along which to concatenate.
    """
    if world_size() == 1:
        return tensor
    moved = tensor.movedim(dim, 0)
    split = _split
    assert split is None or len(moved) == len(split.part(rank())), "dim is not that of the images"
    return (_Gather.apply(moved, split) if tensor.is_floating_point() else _gather(moved, split)).movedim(0, dim)


@torch.no_grad()
def all_reduce_mean(tensors: Sequence[Tensor], weight: float = 1.0) -> list[Tensor]:
    """The mean over processes of each of the floating-point ``tensors``, all sent as one message.

    Args:
        tensors: this process's.
        weight: factor on them; the mean of those of all processes is 1.
    """
    if world_size() == 1 or not tensors:
        return list(tensors)
    message = torch.cat([tensor.flatten() for tensor in tensors])
    if weight != 1.0:
        message *= weight
    dist.all_reduce(message)
    message /= world_size()
    parts = message.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


@torch.no_grad()
def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give ``tensors`` in every process the values they have in the first one."""
    if world_size() > 1:
        for tensor in tensors:
            values = tensor.detach().contiguous()
            dist.broadcast(values, src=0)
            tensor.copy_(values)


@torch.no_grad()
def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum over processes."""
    if world_size() > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _gather(tensor: Tensor, split: Split | None) -> Tensor:
    if split is not None:  # messages have one shape: that of the longest part
        padded = tensor.new_zeros(max(len(split.part(rank)) for rank in range(world_size())), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        tensor = padded
    tensor = tensor.contiguous()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor)
    return torch.cat(parts if split is None else [parts[rank][: len(split.part(rank))] for rank in split.owners()])


class _Gather(torch.autograd.Function):
    """(b, ...) to (B, ...), B the images of all processes together."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, split: Split | None) -> Tensor:
        ctx.split = split
        return _gather(tensor, split)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _SumAndShare.apply(gradient, ctx.split), None


class _SumAndShare(torch.autograd.Function):
    """(B, ...) to this process's (b, ...) of the sum over processes: what takes the gradient of `_Gather`."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, split: Split | None) -> Tensor:
        ctx.split = split
        tensor = tensor.contiguous()
        if split is not None:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
            mine = split.part(rank())
            own = tensor[mine.start : mine.stop].clone()
            return own if rank() in split.owners() else own.zero_()  # of several copies, one was gathered
        if tensor.is_cuda:
            part = tensor.new_empty(len(tensor) // world_size(), *tensor.shape[1:])
            dist.reduce_scatter_tensor(part, tensor)
            return part
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor.chunk(world_size())[rank()].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(gradient, ctx.split), None
