"""Peak memory of this process."""

import sys

import pytest
import torch

from mcl.peak_memory import peak_memory, reset_peak_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux measures the peak anew")
CPU = torch.device("cpu")
SIZE = 200_000_000


def touched() -> torch.Tensor:
    return torch.ones(SIZE, dtype=torch.uint8)


def test_peak_stays_after_the_memory_is_given_back() -> None:
    assert reset_peak_memory(CPU)
    before = peak_memory(CPU)
    block = touched()
    del block
    after = peak_memory(CPU)
    assert before is not None
    assert after is not None
    assert after - before > 0.9 * SIZE
    assert reset_peak_memory(CPU)
    again = peak_memory(CPU)
    assert again is not None
    assert after - again > 0.9 * SIZE
