"""Data parallelism: every process holds the same learner and trains on its shard of each batch."""

import inspect
from typing import Any

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from mcl import distributed
from mcl.training.learner import Learner

# Buffers are averaged after each step instead (`float_buffers`). Newer versions of torch renamed this option.
_OPTIONS = inspect.signature(DistributedDataParallel).parameters
_KEEP_BUFFERS: Any = {"forward_sync_buffers" if "forward_sync_buffers" in _OPTIONS else "broadcast_buffers": False}


def broadcast_learner(learner: Learner) -> None:
    """Give all processes the learner of the first one."""
    distributed.broadcast([*learner.parameters(), *learner.buffers()])


def data_parallel(learner: Learner, *, deterministic: bool = False) -> DistributedDataParallel:
    """Give all processes the learner of the first one. Return a wrapper that averages gradients over processes.

    Args:
        learner: networks and loss.
        deterministic: add the gradients of three or more processes in the same order in every step. Otherwise the first
            step of a process sends them in other buckets, so that a resumed run differs in the last digits.
    """
    broadcast_learner(learner)
    meta = [parameter for parameter in learner.loss.meta_parameters().values() if parameter.requires_grad]
    for parameter in meta:
        parameter.requires_grad_(False)  # the meta round trains them: backward must not wait for their gradients
    # Gradients are sent bucket by bucket while the backward pass still runs. static_graph would not be safe: a loss may
    # pause networks or change with the epoch, and then other parameters get gradients.
    # A search for unused parameters keeps the first buckets.
    options = {**_KEEP_BUFFERS, "gradient_as_bucket_view": True, "find_unused_parameters": deterministic}
    wrapper = DistributedDataParallel(learner, **options)
    for parameter in meta:
        parameter.requires_grad_()
    return wrapper


def float_buffers(learner: Learner) -> list[Tensor]:
    """Return the buffers to average over processes: batch statistics, as each process sees other images.

    Static ones, those that no checkpoint holds, those of frozen networks and stages, and a moving average that collects
    none are the same everywhere.
    """
    stored = learner.state_dict().keys()
    static = {f"loss.{name}" for name in learner.loss.static_buffers()}
    frozen = [module for network in learner.cohort for module in network.frozen_modules()]
    left_out = {id(buffer) for module in frozen for buffer in module.buffers()}
    if learner.average is not None:
        collecting = [network for network in learner.average if learner.loss.needs_ema and not network.frozen]
        collected = {id(buffer) for network in collecting for buffer in network.buffers()}
        collected -= {
            id(buffer) for network in collecting for module in network.frozen_modules() for buffer in module.buffers()
        }
        left_out |= {id(buffer) for buffer in learner.average.buffers()} - collected
    return [
        buffer
        for name, buffer in learner.named_buffers()
        if buffer.is_floating_point() and name in stored and name not in static and id(buffer) not in left_out
    ]
