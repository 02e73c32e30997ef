"""The process group of one run: torchrun starts the processes; here they join, exchange objects and leave."""

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
from mcl.program import in_checkout
from mcl.torchrun import rank, world_size

T = TypeVar("T")

_TIMEOUT = timedelta(hours=2)  # one process may work alone for long, such as decoding a large folder
_NCCL_TIMEOUT = timedelta(minutes=30)  # within a step; NCCL may not notice earlier that a process is gone
# Words in torch's messages about lost processes.
_LOST = ("gloo", "NCCL", "Connection", "Socket", "Broken pipe", "TCPStore")
_WRONG_USE = ("enforce fail", "ncclInvalidUsage", "ncclInvalidArgument", "ncclUnhandledCudaError")  # no process is lost
_store: dist.Store | None = None
_group: Any = None  # dist.ProcessGroup for objects and decisions; None: the default group


class ProcessGroup:
    """The processes that train one run together: those of ``torchrun``, joined at the first use, or this one alone.

    torchrun sets the environment variables ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``.

    Raises:
        UserError: the other processes cannot be reached.
    """

    runs = 0  # process groups made so far, the same number in all processes

    def __init__(self) -> None:
        ProcessGroup.runs += 1
        self.world_size = world_size()
        self.rank = rank()
        if self.world_size > 1 and _store is None:
            _join()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def broadcast_object(self, value: T) -> T:
        """Return the first process's value in all processes."""
        if self.world_size == 1:
            return value
        values: list[Any] = [value if self.first else None]
        dist.broadcast_object_list(values, src=0, group=_group)
        return values[0]

    def broadcast_state(self, state: T) -> T:
        """Broadcast nested dicts, lists and tuples whose large CPU tensors are sent one by one."""
        if self.world_size == 1:
            return state
        outline = self.broadcast_object(_mapped(state, Tensor, lambda tensor: _Outline(tensor.shape, tensor.dtype)))
        if self.first:
            return _mapped(state, Tensor, _broadcast)
        return _mapped(outline, _Outline, lambda like: _broadcast(torch.empty(like.shape, dtype=like.dtype)))

    def all_gather_object(self, value: T) -> list[T]:
        """Return the values of all processes, in order of rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=_group)
        return values

    def all_reduce_max(self, *numbers: int) -> list[int]:
        """Return the maximum of each number over processes. Waits for their hosts, not for their devices."""
        if self.world_size == 1:
            return list(numbers)
        message = torch.tensor(numbers)
        dist.all_reduce(message, dist.ReduceOp.MAX, group=_group)
        return [int(number) for number in message]

    def should_report(self) -> bool:
        """Return whether this process should report the failure of the run: the first to ask does."""
        if _store is None:
            return True
        try:
            return int(_store.add(f"told/{self.runs}", 1)) == 1
        except Exception:  # the process that hosts the store is gone
            return True

    def lost_another(self, error: BaseException) -> UserError | None:
        """Return the error to report if ``error`` means that another process is gone, else None."""
        if self.world_size == 1 or not isinstance(error, Exception):
            return None
        reason = next((str(cause) for cause in causes(error) if _is_connection_error(cause)), None)
        if reason is None:
            return None
        return UserError(
            f"process {self.rank} of {self.world_size} ({socket.gethostname()}) lost the connection to another process"
            " of this run, which was killed or failed. Run the same command again to resume from the last checkpoint."
            f" ({' '.join(reason.split())[-200:]})"
        )


@dataclass(frozen=True)
class _Outline:
    """Shape and dtype of a tensor."""

    shape: torch.Size
    dtype: torch.dtype


def _mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Apply ``change`` to each value of type ``kind`` in nested dicts, lists and tuples, in order."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(item, kind, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_mapped(item, kind, change) for item in value])
    return value


def _broadcast(tensor: Tensor) -> Tensor:
    """Broadcast a tensor in place, as bytes: gloo does not support all dtypes."""
    if tensor.numel():
        dist.broadcast(tensor.detach().reshape(-1).view(torch.uint8), src=0, group=_group)
    return tensor


def _is_connection_error(error: BaseException) -> bool:
    if not isinstance(error, RuntimeError) or any(word in str(error) for word in _WRONG_USE):
        return False
    return any(word in str(error) for word in _LOST)


def _join() -> None:
    global _store, _group
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    program = "train.py" if in_checkout() else "-m mcl train"
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} asks for several processes, but {', '.join(missing)} is"
            f" not set. Start them with torchrun --nproc_per_node=N {program} ..."
        )
    # Objects and decisions go over gloo and the CPU, so that agreeing never waits for a GPU.
    gpus = torch.cuda.is_available()
    backend, timeout = ("cpu:gloo,cuda:nccl", _NCCL_TIMEOUT) if gpus else ("gloo", _TIMEOUT)
    try:
        _store, number, size = next(dist.rendezvous("env://", timeout=_TIMEOUT))
        dist.init_process_group(backend, store=_store, rank=number, world_size=size, timeout=timeout)
        _group = dist.new_group(backend="gloo", timeout=_TIMEOUT) if gpus else None
    except (RuntimeError, OSError, ValueError) as error:
        reason = "that port is in use" if "EADDRINUSE" in str(error) else str(error).strip().splitlines()[0]
        raise UserError(
            f"the {os.environ['WORLD_SIZE']} processes cannot connect at {address}:{port}: {reason}. Choose another"
            " port with torchrun --master_port=PORT, or let it find one with --standalone (one machine)."
        ) from error
    atexit.register(_leave)


def _leave() -> None:
    # References to the group, such as DistributedDataParallel in a cycle, would keep its threads alive; a thread that
    # needs the interpreter during shutdown aborts the process.
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()
