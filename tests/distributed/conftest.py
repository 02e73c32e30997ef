"""Two processes on the CPU (gloo) and, where there are two GPUs, on these (NCCL)."""

import pytest
import torch
from support.small_runs import during_step, small, undisturbed

__all__ = ["during_step", "small", "undisturbed"]
TWO_GPUS = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")]


@pytest.fixture(
    scope="module", params=[pytest.param("cpu", id="gloo"), pytest.param("cuda", id="nccl", marks=TWO_GPUS)]
)
def device(request: pytest.FixtureRequest) -> str:
    """``trainer.device`` of two processes."""
    name: str = request.param
    return name
