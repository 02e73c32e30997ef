"""Compile the networks of a training step: ``trainer.compile``."""

from collections.abc import Callable

import torch
from torch import Tensor

from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.types import Outputs


def compiled(cohort: Cohort) -> Callable[[Tensor], list[Outputs]]:
    """Return ``cohort(images)`` through `torch.compile`, with the same parameters; compiled at the first call.

    The cohort itself stays uncompiled for evaluation, checkpoints and the meta round, which differentiates it twice.

    Raises:
        UserError: (when called) it cannot be compiled on this machine.
    """
    # Batches have one size, or two if the last one of an epoch is smaller.
    compiled_forward: Callable[[Tensor], list[Outputs]] = torch.compile(cohort.forward, dynamic=False)

    def forward(images: Tensor) -> list[Outputs]:
        from torch._dynamo.exc import TorchDynamoException

        try:
            return compiled_forward(images)
        except TorchDynamoException as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise UserError(
                f"trainer.compile=true: torch.compile failed: {reason}. On a CPU it needs a C++ compiler (g++, or"
                " another in the environment variable CXX), on a GPU Triton. Install it, or use trainer.compile=false."
            ) from error

    return forward
