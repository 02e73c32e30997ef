"""Random generators that are a pure function of their purpose."""

import zlib

import numpy as np
import torch


def generator(stream: str, *key: int) -> torch.Generator:
    """A CPU generator seeded by the name of a stream and any integers: the same draws on every device and machine.

    Args:
        stream: what the numbers are for; two streams of one key are independent.
        key: for instance the seed and the epoch. Negative integers count modulo 2^64.
    """
    entropy = [zlib.crc32(stream.encode()), *(part % 2**64 for part in key)]
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
