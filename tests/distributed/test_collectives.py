"""Several tensors in one message."""

from collections.abc import Sequence

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from mcl.distributed import collectives
from mcl.distributed.sharding import Split


@pytest.mark.parametrize("split", [None, Split(7, 2)], ids=["even", "uneven"])
def test_tensors_of_any_dtype_are_gathered_bit_for_bit_in_one_message(
    monkeypatch: pytest.MonkeyPatch, split: Split | None
) -> None:
    part = range(4) if split is None else split.part(0)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(len(part), 3, 2, generator=generator)
    tensors = [
        *(values.bfloat16(), values.double(), values[:, 0, 0] > 0, torch.arange(len(part)) - 2**40),
        values[:, :, :1].transpose(1, 2),
    ]
    messages: list[Tensor] = []

    def all_gather(received: Sequence[Tensor], message: Tensor) -> None:  # the other process sends zeros
        messages.append(message)
        received[0].copy_(message)
        received[1].zero_()

    monkeypatch.setattr(dist, "all_gather", all_gather)
    monkeypatch.setattr(collectives, "world_size", lambda: 2)
    gathered = collectives._gather(split, tensors)
    assert len(messages) == 1
    for tensor, whole in zip(tensors, gathered, strict=True):
        assert whole.dtype == tensor.dtype
        assert whole.shape == (7 if split else 8, *tensor.shape[1:])
        assert torch.equal(whole[: len(part)], tensor)
        assert not whole[len(part) :].any()
