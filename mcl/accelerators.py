"""Find out whether this machine can have a GPU, without importing torch, which takes seconds."""

import ctypes
import sys
from pathlib import Path

_DEVICE_FILES = ("nvidiactl", "nvhost-ctrl", "nvmap", "kfd", "dxg")  # NVIDIA, its Jetsons, AMD, Windows' Linux
_DRIVER = "libcuda.so.1"


def surely_cpu(device_name: str) -> bool:
    """Return whether `mcl.devices.find_device` certainly finds the CPU; False if only torch knows.

    Args:
        device_name: ``trainer.device``.
    """
    return device_name == "cpu" or (device_name == "auto" and not _may_have_gpu())


def _may_have_gpu() -> bool:
    if sys.platform != "linux" or any(Path("/dev", name).exists() for name in _DEVICE_FILES):
        return True
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True
