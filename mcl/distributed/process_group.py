"""The process group of one run: torchrun starts the processes; here they join, agree and leave."""

import atexit
import gc
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mcl.errors import UserError, causes

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)  # for what one process does while the others wait, such as decoding a large folder
_PATIENCE_OF_GPUS = timedelta(minutes=30)  # within a step; NCCL may not notice earlier that a process is gone
_LOST = ("gloo", "NCCL", "Connection", "Socket", "Broken pipe", "TCPStore")  # in what torch says when a process is gone
_WRONG_USE = ("enforce fail", "ncclInvalidUsage", "ncclInvalidArgument", "ncclUnhandledCudaError")  # and when none is
_store: dist.Store | None = None  # of the processes that this one has joined
_group: Any = None  # dist.ProcessGroup of objects and decisions; None: that of the tensors, too


class ProcessGroup:
    """This process among those of its run: all of ``torchrun``'s, joined at the first use, or itself alone.

    Args that torchrun puts into the environment: ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``, ``MASTER_PORT``.

    Raises:
        UserError: the others cannot be found.
    """

    runs = 0  # of this process so far, the same number in all of them

    def __init__(self) -> None:
        ProcessGroup.runs += 1
        self.world_size = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0)) if self.world_size > 1 else 0
        if self.world_size > 1 and _store is None:
            _join()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks to people."""
        return self.rank == 0

    def broadcast_object(self, value: T) -> T:
        """The first process's value, in all of them; what the others give does not count."""
        if self.world_size == 1:
            return value
        values: list[Any] = [value if self.first else None]
        dist.broadcast_object_list(values, src=0, group=_group)
        return values[0]

    def broadcast_state(self, state: T) -> T:
        """As ``share``, for dicts, lists and tuples with large tensors on the CPU, which are sent one after another."""
        if self.world_size == 1:
            return state
        outline = self.broadcast_object(_mapped(state, Tensor, lambda tensor: _Outline(tensor.shape, tensor.dtype)))
        if self.first:
            return _mapped(state, Tensor, _broadcast)
        return _mapped(outline, _Outline, lambda like: _broadcast(torch.empty(like.shape, dtype=like.dtype)))

    def all_gather_object(self, value: T) -> list[T]:
        """Every process's value, in order of rank, in all of them."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=_group)
        return values

    def all_reduce_max(self, *numbers: int) -> list[int]:
        """The greatest of each number over all processes. It waits for their hosts, not for their devices."""
        if self.world_size == 1:
            return list(numbers)
        message = torch.tensor(numbers)
        dist.all_reduce(message, dist.ReduceOp.MAX, group=_group)
        return [int(number) for number in message]

    def should_report(self) -> bool:
        """Whether it falls to this process to say what ended the run: it is the first that asks."""
        if _store is None:
            return True
        try:
            return int(_store.add(f"told/{self.runs}", 1)) == 1
        except Exception:  # the process that kept the store is gone
            return True

    def lost_another(self, error: BaseException) -> UserError | None:
        """What to say when an error means that another process has gone, else None."""
        if self.world_size == 1 or not isinstance(error, Exception):
            return None
        reason = next((str(cause) for cause in causes(error) if _is_of_a_connection(cause)), None)
        if reason is None:
            return None
        return UserError(
            f"process {self.rank} of {self.world_size} ({socket.gethostname()}) has lost touch with another process of"
            " this run, which was killed or has failed. Type the same command again to go on from the last checkpoint."
            f" ({' '.join(reason.split())[-200:]})"
        )


@dataclass(frozen=True)
class _Outline:
    """A tensor without its values."""

    shape: torch.Size
    dtype: torch.dtype


def _mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The same nested dicts, lists and tuples with each value of a kind changed, in order."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(item, kind, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_mapped(item, kind, change) for item in value])
    return value


def _broadcast(tensor: Tensor) -> Tensor:
    """The first process's values of a tensor, as bytes: gloo does not know all types of numbers."""
    if tensor.numel():
        dist.broadcast(tensor.detach().reshape(-1).view(torch.uint8), src=0, group=_group)
    return tensor


def _is_of_a_connection(error: BaseException) -> bool:
    if not isinstance(error, RuntimeError) or any(word in str(error) for word in _WRONG_USE):
        return False
    return any(word in str(error) for word in _LOST)


def _join() -> None:
    global _store, _group
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UserError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} says that there are several processes, but {', '.join(missing)} is"
            " not set. Start them by: torchrun --nproc_per_node=N train.py ..."
        )
    # Objects and decisions go over gloo and the CPU, so that agreeing never waits for a GPU.
    gpus = torch.cuda.is_available()
    backend, patience = ("cpu:gloo,cuda:nccl", _PATIENCE_OF_GPUS) if gpus else ("gloo", _PATIENCE)
    try:
        _store, rank, size = next(dist.rendezvous("env://", timeout=_PATIENCE))
        dist.init_process_group(backend, store=_store, rank=rank, world_size=size, timeout=patience)
        _group = dist.new_group(backend="gloo", timeout=_PATIENCE) if gpus else None
    except (RuntimeError, OSError, ValueError) as error:
        reason = "that port is in use" if "EADDRINUSE" in str(error) else str(error).strip().splitlines()[0]
        raise UserError(
            f"the {os.environ['WORLD_SIZE']} processes cannot meet at {address}:{port}: {reason}. Choose another port"
            " with torchrun --master_port=PORT, or have it find one with --standalone (one machine)."
        ) from error
    atexit.register(_part)


def _part() -> None:
    # What still refers to the group, such as DistributedDataParallel in a cycle, would keep its threads: one that asks
    # for the interpreter while that is being taken down aborts the process.
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()
