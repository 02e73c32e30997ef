"""Read how much of each GPU is in use, by all programs: through NVML, or else from nvidia-smi."""

import csv
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.gpus import is_mig

_QUERY = ("nvidia-smi", "--query-gpu=uuid,memory.used,memory.total,utilization.gpu", "--format=csv,noheader,nounits")
_MIB = 2**20


class Usage(NamedTuple):
    """Usage of a GPU, or of a part of one, by all programs."""

    used: int  # bytes
    total: int  # bytes
    utilization: int | None  # percent of the last moments in which a kernel ran; None for a part of a GPU (MIG)

    @property
    def free(self) -> int:
        """Bytes left."""
        return self.total - self.used


GpuMonitor = Callable[[], dict[str, Usage]]  # returns the usage of each GPU that can be read now


def gpu_monitor(uuids: Mapping[str, str], option: str) -> GpuMonitor:
    """Return a function that reads the usage of GPUs.

    Args:
        uuids: UUID of each GPU, by its entry of ``CUDA_VISIBLE_DEVICES``: CUDA and NVML count in different orders.
        option: the option that needs it, for messages.

    Raises:
        LauncherError: neither NVML nor nvidia-smi can read one of them.
    """
    try:
        import pynvml
    except ImportError:
        pynvml = None
    parts = [gpu for gpu in uuids if is_mig(gpu)]
    if pynvml is None and (parts or shutil.which("nvidia-smi") is None):
        what = f"parts of a GPU ({parts[0]})" if parts else "GPUs"
        raise LauncherError(
            f"{option} reads the memory of {what} through NVML: pip install nvidia-ml-py, or leave this option out."
        )
    monitor = _Smi(uuids) if pynvml is None else _Nvml(uuids, pynvml, option)
    if unread := [gpu for gpu in uuids if gpu not in monitor()]:
        raise LauncherError(
            f"{option}: the memory of {unread[0]} cannot be read. Leave out this option, or this device from"
            " hydra.launcher.devices."
        )
    return monitor


class _Nvml:
    """Reads through NVML, the library behind nvidia-smi."""

    def __init__(self, uuids: Mapping[str, str], pynvml: Any, option: str):
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = {gpu: pynvml.nvmlDeviceGetHandleByUUID(uuid) for gpu, uuid in uuids.items()}
        except pynvml.NVMLError as error:
            raise LauncherError(f"{option}: NVML fails ({error}). Leave this option out.") from error

    def __call__(self) -> dict[str, Usage]:
        usages = {gpu: self._usage(handle) for gpu, handle in self._handles.items()}
        return {gpu: usage for gpu, usage in usages.items() if usage is not None}

    def _usage(self, handle: Any) -> Usage | None:
        try:
            memory = self._memory(handle)
        except self._nvml.NVMLError:  # the GPU is lost, for example: jobs there report it
            return None
        return Usage(int(memory.used), int(memory.total), self._utilization(handle))

    def _memory(self, handle: Any) -> Any:
        version = getattr(self._nvml, "nvmlMemory_v2", None)  # the older form counts what the driver reserves as used
        if version is not None:
            try:
                return self._nvml.nvmlDeviceGetMemoryInfo(handle, version=version)
            except self._nvml.NVMLError:  # an older driver
                pass
        return self._nvml.nvmlDeviceGetMemoryInfo(handle)

    def _utilization(self, handle: Any) -> int | None:
        try:
            return int(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        except self._nvml.NVMLError:  # not supported by MIG
            return None


class _Smi:
    """Reads the output of nvidia-smi."""

    def __init__(self, uuids: Mapping[str, str]):
        self._gpus = {uuid: gpu for gpu, uuid in uuids.items()}

    def __call__(self) -> dict[str, Usage]:
        try:
            done = subprocess.run(_QUERY, capture_output=True, text=True, errors="replace", timeout=5)
        except (OSError, subprocess.SubprocessError):
            return {}
        usages = {}
        for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True):
            if len(row) == 4 and row[0] in self._gpus and row[1].isdigit() and row[2].isdigit():
                utilization = int(row[3]) if row[3].isdigit() else None
                usages[self._gpus[row[0]]] = Usage(int(row[1]) * _MIB, int(row[2]) * _MIB, utilization)
        return usages
