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
    return gather_coalesced([tensor], [dim])[0]


def gather_coalesced(tensors: Sequence[Tensor], dims: Sequence[int]) -> list[Tensor]:
    """Concatenate several tensors over processes as `gather` does each, in one message, whatever their dtypes.

    Their gradients need one message too, for each dtype.

    Args:
        tensors: this process's tensors, with one entry for each of its images along ``dims``.
        dims: dimension of the images in each tensor.
    """
    if world_size() == 1:
        return list(tensors)
    moved = [tensor.movedim(dim, 0) for tensor, dim in zip(tensors, dims, strict=True)]
    split = _split
    assert split is None or all(len(tensor) == len(split.part(rank())) for tensor in moved), "dims: not those of images"
    gathered = _Gather.apply(split, *moved) if any(map(torch.is_floating_point, moved)) else _gather(split, moved)
    return [tensor.movedim(0, dim) for tensor, dim in zip(gathered, dims, strict=True)]


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


def _gather(split: Split | None, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gather tensors (b, ...) to (B, ...) as the bytes of each image, so that all of them are one message."""
    rows = [tensor.reshape(len(tensor), -1).contiguous().view(torch.uint8) for tensor in tensors]  # (b, bytes)
    message = torch.cat(rows, 1)
    if split is not None:  # messages have one length: that of the longest part
        longest = max(len(split.part(rank)) for rank in range(world_size()))
        message = torch.cat([message, message.new_zeros(longest - len(message), message.shape[1])])
    received = message.new_empty(world_size() * len(message), message.shape[1])
    dist.all_gather(list(received.chunk(world_size())), message)
    if split is not None:
        parts = received.split(len(message))
        received = torch.cat([parts[rank][: len(split.part(rank))] for rank in split.owners()])
    columns = received.split([row.shape[1] for row in rows], 1)
    return tuple(
        column.contiguous().view(tensor.dtype).view(-1, *tensor.shape[1:])
        for column, tensor in zip(columns, tensors, strict=True)
    )


def _reduce_scatter(split: Split | None, tensor: Tensor) -> Tensor:
    """Return this process's part (b, n) of the sum over processes of (B, n)."""
    if split is not None:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        images = split.part(rank())
        part = tensor[images.start : images.stop].clone()
        return part if rank() in split.owners() else part.zero_()  # only one of several copies was gathered
    if tensor.is_cuda:
        part = tensor.new_empty(len(tensor) // world_size(), *tensor.shape[1:])
        dist.reduce_scatter(part, list(tensor.contiguous().chunk(world_size())))
        return part
    tensor = tensor.clone()
    dist.all_reduce(tensor)
    return tensor.chunk(world_size())[rank()].clone()


def _needed(ctx: Any, gradients: Sequence[Tensor]) -> list[int]:
    """Return the positions of the tensors that need a gradient, the same in all processes."""
    return [i for i in range(len(gradients)) if ctx.needs_input_grad[1 + i]]


class _Gather(torch.autograd.Function):
    """(b, ...) to (B, ...) for each tensor, with B the number of images of all processes."""

    @staticmethod
    def forward(ctx: Any, split: Split | None, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.split = split
        gathered = _gather(split, tensors)
        ctx.mark_non_differentiable(*(tensor for tensor in gathered if not tensor.is_floating_point()))
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        results: list[Tensor | None] = [None] * len(gradients)
        needed = _needed(ctx, gradients)
        for i, gradient in zip(needed, _ReduceScatter.apply(ctx.split, *(gradients[i] for i in needed)), strict=True):
            results[i] = gradient
        return None, *results


class _ReduceScatter(torch.autograd.Function):
    """(B, ...) to this process's (b, ...) of the sum over processes, for each tensor: the gradient of `_Gather`."""

    @staticmethod
    def forward(ctx: Any, split: Split | None, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.split = split
        results: dict[int, Tensor] = {}
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
            rows = [tensors[i].reshape(len(tensors[i]), -1) for i in alike]  # (B, n)
            parts = _reduce_scatter(split, torch.cat(rows, 1)).split([row.shape[1] for row in rows], 1)
            for i, part in zip(alike, parts, strict=True):
                results[i] = part.reshape(-1, *tensors[i].shape[1:])
        return tuple(results[i] for i in range(len(tensors)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        results: list[Tensor | None] = [None] * len(gradients)
        needed = _needed(ctx, gradients)
        for i, gradient in zip(needed, _Gather.apply(ctx.split, *(gradients[i] for i in needed)), strict=True):
            results[i] = gradient
        return None, *results
