"""Find a device, its default precision and its memory format."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from mcl.errors import UserError

ALL_THREADS = torch.get_num_threads()  # before any run of this process lowered it
PIXELS_PER_THREAD = 2**15  # a batch of 32 images of 32 x 32


def find_device(name: str) -> torch.device:
    """The device of ``trainer.device``: ``auto`` takes a GPU if there is one.

    Of several processes on one machine each takes a GPU of its own, by its number there (``LOCAL_RANK`` of torchrun).

    Raises:
        UserError: no such device here, or fewer GPUs than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and int(os.environ.get("WORLD_SIZE", 1)) > 1 and torch.cuda.is_available():
        number, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if number >= gpus:
            raise UserError(
                f"process {number + 1} of this machine finds {gpus} GPU{'s' * (gpus > 1)}: start as many processes as"
                f" there are (torchrun --nproc_per_node={gpus}), or use trainer.device=cpu."
            )
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    if name.startswith("cuda:") and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(
            f"trainer.device={name}: several processes each take a GPU of their own; use trainer.device=cuda."
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"trainer.device={name}: no such device; use auto, cpu, cuda, cuda:N or mps.") from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        here = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise UserError(f"trainer.device={name}: not available here; there is {here}.")
    return device


def default_precision(device_name: str) -> str:
    """bfloat16 where the hardware of this device multiplies it, else float32."""
    device = find_device(device_name)
    if device.type != "cuda":
        return "float32"
    # torch.cuda.is_bf16_supported says so of the current device alone.
    supported = torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    return "bfloat16" if supported else "float32"


def default_channels_last(device_name: str) -> bool:
    """channels_last, in which convolutions are faster on CPUs and on GPUs with tensor cores; not tried on MPS."""
    return find_device(device_name).type != "mps"


def use_threads(device: torch.device, threads: int | None, *, pixels: int) -> None:
    """Set how many CPU threads share one operation.

    Args:
        device: nothing happens unless it is the CPU.
        threads: how many; None takes PyTorch's number, but fewer when they would share too little work: threads that
            mostly wait for one another are no faster, and many times slower beside other busy processes.
        pixels: of one batch, all its images together.
    """
    if device.type == "cpu":
        torch.set_num_threads(threads or max(1, min(ALL_THREADS, pixels // PIXELS_PER_THREAD)))


def use_deterministic(deterministic: bool) -> None:
    """Have operations give the same bits every time (of those on a GPU some do not), or leave them be faster."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic  # try which kernels are fastest: sizes do not change


def use_tf32(precision: str) -> None:
    """Have float32 convolutions on a GPU round their inputs to 10 bits, which is faster, unless float32 is asked for.

    PyTorch does so by default, so that what float32 means would hang on the device.
    """
    torch.backends.cudnn.allow_tf32 = precision != "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a forward pass in this precision."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
