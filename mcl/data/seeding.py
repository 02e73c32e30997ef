"""Random generators that depend on their purpose alone."""

import zlib

import numpy as np
import torch


def generator(stream: str, *key: int) -> torch.Generator:
    """Return a CPU generator seeded by the name of a stream and integers: the same draws on every machine.

    Args:
        stream: purpose of the numbers; two streams with the same key are independent.
        key: integers such as the seed and the epoch. Negative integers are taken modulo 2^64.
    """
    entropy = [zlib.crc32(stream.encode()), *(part % 2**64 for part in key)]
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
