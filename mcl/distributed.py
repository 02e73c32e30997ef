"""What the processes of one training run exchange inside a step. In a single process nothing is exchanged.

Every process holds the same parameters and its own share of each batch, in order of rank: together they see the batch
that one process would see alone. An objective is the mean over processes of what each computes, and a gradient is made
whole by the mean over processes of what each finds (`mean`), however often it is differentiated.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _several() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _several() else 0


def gather(tensor: Tensor, dim: int = 0) -> Tensor:
    """The tensors of all processes, of one shape, concatenated in order of rank. Differentiable any number of times.

    Its gradient is the sum over processes of what reaches this process's part. Where every process computes the same
    value from what it gathered, the mean of the processes' gradients is therefore the gradient of that value.

    Args:
        tensor: this process's.
        dim: along which to concatenate.
    """
    if size() == 1:
        return tensor
    moved = tensor.movedim(dim, 0)
    return (_Gather.apply(moved) if tensor.is_floating_point() else _gather(moved)).movedim(0, dim)


@torch.no_grad()
def mean(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The mean over processes of each of the floating-point ``tensors``, all sent as one message."""
    if size() == 1 or not tensors:
        return list(tensors)
    message = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(message)
    message /= size()
    parts = message.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


@torch.no_grad()
def copy_first(tensors: Iterable[Tensor]) -> None:
    """Give ``tensors`` in every process the values they have in the first one."""
    if size() > 1:
        for tensor in tensors:
            values = tensor.detach().contiguous()
            dist.broadcast(values, src=0)
            tensor.copy_(values)


@torch.no_grad()
def total(tensor: Tensor) -> Tensor:
    """The sum over processes."""
    if size() > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _gather(tensor: Tensor) -> Tensor:
    tensor = tensor.contiguous()
    parts = [torch.empty_like(tensor) for _ in range(size())]
    dist.all_gather(parts, tensor)
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """(b, ...) to (size * b, ...)."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _gather(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumAndShare.apply(gradient)


class _SumAndShare(torch.autograd.Function):
    """(size * b, ...) to this process's (b, ...) of the sum over processes: what takes the gradient of `_Gather`."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        if tensor.is_cuda:
            part = tensor.new_empty(len(tensor) // size(), *tensor.shape[1:])
            dist.reduce_scatter_tensor(part, tensor)
            return part
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor.chunk(size())[rank()].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Gather.apply(gradient)
