"""Peak memory of training, over all attempts of a run."""

from collections.abc import Mapping
from typing import Any

import torch

from mcl.peak_memory import peak_memory, reset_peak_memory


class HighestMemory:
    """Keep the peak memory of this process; a resumed run continues it.

    Start-up is not measured. Where the system cannot measure anew (a CPU without Linux), nothing is kept: the peak
    could be that of an earlier run of the same process.
    """

    def __init__(self) -> None:
        self._peaks: dict[str, int] = {}  # one attempt may have had a GPU, and the next none
        self._device: torch.device | None = None

    def start(self, device: torch.device) -> None:
        """Measure this device from now on."""
        self._device = device if reset_peak_memory(device) else None

    def read(self) -> dict[str, int]:
        """Return the peak so far in bytes, as ``{"gpu"}`` of tensors on the GPU or ``{"process"}`` of the process."""
        if self._device is not None and (now := peak_memory(self._device)) is not None:
            kind = "gpu" if self._device.type == "cuda" else "process"
            self._peaks[kind] = max(now, self._peaks.get(kind, 0))
        return dict(self._peaks)

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from the ``peak_memory`` of a checkpoint, which older ones lack."""
        self._peaks = dict(state.get("peak_memory", {}))
