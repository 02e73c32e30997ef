"""Collectives used inside a training step. A single process exchanges nothing.

Every process holds the same parameters and its own shard of each batch, in order of rank: together they see the batch
that one process would see alone. An objective is the mean over processes of their objectives, and its gradient, of any
order, is the mean over processes of their gradients (`all_reduce_mean`).

If a batch does not divide evenly, `Split` assigns images to processes and gives the `weight` of each process's mean;
within `sharing`, gathered tensors have one entry for each image of the batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mcl.distributed.sharding import Split

_split: Split | None = None  # split of the current batch, if it is uneven


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _several() else 1


def rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if _several() else 0


@contextmanager
def sharing(images: int | None) -> Iterator[None]:
    """Within the block, this process computes its shard of a batch of ``images``; None if all shards are equal."""
    global _split
    before = _split
    split = None if images is None else Split(images, world_size())
    _split = None if split is None or split.even else split
    try:
        yield
    finally:
        _split = before


def weight(images: int | None) -> float:
    """Return the factor on this process's mean in `all_reduce_mean`; 1 if all shards are equal.

    Args:
        images: size of the batch over all processes; None if all shards are equal.
    """
    return 1.0 if images is None else Split(images, world_size()).weight(rank())


def gather(tensor: Tensor, dim: int = 0) -> Tensor:
    """Concatenate the tensors of all processes in order of rank. Differentiable any number of times.

    The gradient is the sum over processes of the gradients that reach this process's shard. If every process computes
    the same value from the gathered tensor, the mean of their gradients is therefore the gradient of that value.

    Args:
        tensor: this process's tensor, of the same shape in all; within `sharing`, ``dim`` may differ in length.
        dim: dimension to concatenate along; within `sharing`, the dimension of the images.
    """
    if world_size() == 1:
        return tensor
    moved = tensor.movedim(dim, 0)
    split = _split
    assert split is None or len(moved) == len(split.part(rank())), "dim is not that of the images"
    return (_Gather.apply(moved, split) if tensor.is_floating_point() else _gather(moved, split)).movedim(0, dim)


@torch.no_grad()
def all_reduce_mean(tensors: Sequence[Tensor], weight: float = 1.0) -> list[Tensor]:
    """Average each of the floating-point ``tensors`` over processes, in one message.

    Args:
        tensors: this process's tensors.
        weight: factor on them; the weights of all processes average to 1.
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
    """Copy the first process's values of ``tensors`` to all processes, in place."""
    if world_size() > 1:
        for tensor in tensors:
            values = tensor.detach().contiguous()
            dist.broadcast(values, src=0)
            tensor.copy_(values)


@torch.no_grad()
def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum over processes."""
    if world_size() > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _gather(tensor: Tensor, split: Split | None) -> Tensor:
    if split is not None:  # messages have one length: that of the longest part
        padded = tensor.new_zeros(max(len(split.part(rank)) for rank in range(world_size())), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        tensor = padded
    tensor = tensor.contiguous()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor)
    return torch.cat(parts if split is None else [parts[rank][: len(split.part(rank))] for rank in split.owners()])


class _Gather(torch.autograd.Function):
    """(b, ...) to (B, ...), with B the number of images of all processes."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, split: Split | None) -> Tensor:
        ctx.split = split
        return _gather(tensor, split)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _ReduceScatter.apply(gradient, ctx.split), None


class _ReduceScatter(torch.autograd.Function):
    """(B, ...) to this process's (b, ...) of the sum over processes: the gradient of `_Gather`."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, split: Split | None) -> Tensor:
        ctx.split = split
        tensor = tensor.contiguous()
        if split is not None:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
            images = split.part(rank())
            part = tensor[images.start : images.stop].clone()
            return part if rank() in split.owners() else part.zero_()  # only one of several copies was gathered
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
