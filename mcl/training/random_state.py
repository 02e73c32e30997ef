"""The global random generators, for modules that draw from them as they run (dropout, a user's own code)."""

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed every global generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global one is what others may use
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every global generator, of the CPU and of ``device``, as tensors and plain values."""
    numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    numpy["state"]["key"] = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    state = {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state()}
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put a state back. That of another kind of device is left out."""
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values), gauss))
    numpy = copy.deepcopy(state["numpy"])
    numpy["state"]["key"] = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(numpy)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and "device" in state:
        torch.get_device_module(device).set_rng_state(state["device"], device)
