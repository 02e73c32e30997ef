"""Find a device, its default precision and memory format, and configure torch for it."""

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.backends.cpu import get_cpu_capability as cpu_capability

from mcl.errors import UserError
from mcl.torchrun import local_rank, world_size

ALL_THREADS = torch.get_num_threads()  # before any run of this process lowered it
PIXELS_PER_THREAD = 2**15  # 32 images of 32 x 32


def find_device(name: str) -> torch.device:
    """Return the device of ``trainer.device``; ``auto`` is a GPU if there is one.

    Each of several processes on one machine takes a GPU of its own, by torchrun's ``LOCAL_RANK``.

    Raises:
        UserError: this machine has no such device, or fewer GPUs than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and world_size() > 1 and torch.cuda.is_available():
        number, gpus = local_rank(), torch.cuda.device_count()
        if number >= gpus:
            raise UserError(
                f"process {number + 1} of this machine finds {gpus} GPU{'s' * (gpus > 1)}: start one process per GPU"
                f" (torchrun --nproc_per_node={gpus}), or use trainer.device=cpu."
            )
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    if name.startswith("cuda:") and world_size() > 1:
        raise UserError(
            f"trainer.device={name}: each of several processes takes a GPU of its own; use trainer.device=cuda."
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
        names = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise UserError(f"trainer.device={name}: not available on this machine; use one of {names}.")
    return device


def default_precision(device_name: str) -> str:
    """Return ``bfloat16`` if the hardware of this device supports it, else ``float32``."""
    device = find_device(device_name)
    if device.type != "cuda":
        return "float32"
    # torch.cuda.is_bf16_supported looks at the current device only.
    supported = torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    return "bfloat16" if supported else "float32"


def default_channels_last(device_name: str) -> bool:
    """Return whether to use channels_last: faster on CPUs and on GPUs with tensor cores; not tried on MPS."""
    return find_device(device_name).type != "mps"


def use_threads(device: torch.device, threads: int | None, *, pixels: int) -> None:
    """Set how many CPU threads share one operation.

    Args:
        device: nothing happens unless it is the CPU.
        threads: number of threads; None takes PyTorch's number, or fewer if a batch is small: threads that mostly wait
            for each other are not faster alone, and many times slower beside other busy processes.
        pixels: pixels of all images of a batch.
    """
    if device.type == "cpu":
        torch.set_num_threads(threads or max(1, min(ALL_THREADS, pixels // PIXELS_PER_THREAD)))


def use_deterministic(deterministic: bool) -> None:
    """Use deterministic kernels only, or allow faster, nondeterministic ones."""
    # In every run: CUDA reads it at the first product of the process, of which a later run may be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic  # input sizes do not change, so trying kernels pays off


def use_tf32(precision: str) -> None:
    """Allow TF32 on a GPU: in convolutions unless the precision is ``float32``, in matrix products if it is ``tf32``.

    PyTorch allows it in convolutions by default, so what float32 means would depend on the device.
    """
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32 in convolutions and matrix products meanwhile, or not."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def has_tf32(device: torch.device) -> bool:
    """Return whether a device can multiply in TF32: NVIDIA GPUs since Ampere."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def precision_notes(device: torch.device, precision: str) -> list[str]:
    """Return notes for the user on a precision that the hardware of a device lacks."""
    if precision == "tf32" and not has_tf32(device):
        return [f"trainer.precision=tf32: {device} does not support TF32, so this run is in float32."]
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    if precision == "bfloat16" and device.type == "cpu" and is_x86 and "AVX512" not in cpu_capability():
        return [
            "trainer.precision=bfloat16: without AVX-512, this processor takes many times as long as with"
            " trainer.precision=float32."
        ]
    return []


def compute_dtype(precision: str) -> torch.dtype:
    """Return the dtype of the networks' convolutions in this precision; TF32 is a way to multiply float32."""
    dtype: torch.dtype = getattr(torch, "float32" if precision == "tf32" else precision)
    return dtype


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context of a forward pass in this precision."""
    dtype = compute_dtype(precision)
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype=dtype)
