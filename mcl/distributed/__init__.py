"""The processes of one training run: collectives, process group, sharding."""

from mcl.distributed.collectives import (
    all_reduce_mean,
    all_reduce_sum,
    broadcast,
    gather,
    gather_coalesced,
    rank,
    sharing,
    weight,
    world_size,
)

__all__ = [
    "all_reduce_mean",
    "all_reduce_sum",
    "broadcast",
    "gather",
    "gather_coalesced",
    "rank",
    "sharing",
    "weight",
    "world_size",
]
