"""Compile the networks of a training step: ``trainer.compile``."""

from collections.abc import Callable

import torch
from torch import Tensor

from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.types import Outputs

# Steps replay CUDA graphs of their own (``trainer.capture``), so only one choice has torch.compile record some.
_MODES: dict[bool | str, str] = {
    True: "default",
    "max-autotune": "max-autotune-no-cudagraphs",
    "reduce-overhead": "reduce-overhead",
}


def compiled(cohort: Cohort, compile: bool | str = True) -> Callable[[Tensor], list[Outputs]]:
    """Return ``cohort(images)`` through `torch.compile`, with the same parameters; compiled at the first call.

    The cohort itself stays uncompiled for evaluation, checkpoints and the meta round, which differentiates it twice.

    Args:
        cohort: the networks.
        compile: ``trainer.compile``, other than false.

    Raises:
        UserError: (when called) it cannot be compiled on this machine.
    """
    # Batches have one size, or two if the last one of an epoch is smaller.
    compiled_forward: Callable[[Tensor], list[Outputs]] = torch.compile(
        cohort.forward, dynamic=False, mode=_MODES[compile]
    )

    def forward(images: Tensor) -> list[Outputs]:
        from torch._dynamo.exc import TorchDynamoException

        try:
            return compiled_forward(images)
        except TorchDynamoException as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise UserError(
                f"trainer.compile={str(compile).lower()}: torch.compile failed: {reason}. On a CPU it needs"
                " a C++ compiler (g++, or another in the environment variable CXX), on a GPU Triton. Install it, or use"
                " trainer.compile=false."
            ) from error

    return forward
