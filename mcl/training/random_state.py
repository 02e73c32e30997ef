"""Global random generators, for modules that draw from them, such as dropout.

Every process of a run draws its own numbers, so that the images of a batch are treated independently. The first
process draws the same numbers as a single process.
"""

import copy
import random
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mcl.data.seeding import generator


def seed_everything(seed: int) -> None:
    """Seed every global generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - user code may draw from the global generator
    torch.manual_seed(seed)


def seed_process(seed: int, rank: int, *, step: int = 0) -> None:
    """Seed every global generator of a process that joins a run at ``step``, unless it is the first one."""
    if rank > 0:
        seed_everything(generator("process", seed, rank, step).initial_seed())


def resume_random_state(
    states: Sequence[Mapping[str, Any]], seed: int, rank: int, step: int, device: torch.device
) -> None:
    """Restore the state of this process from a checkpoint, which may have had more or fewer processes.

    Args:
        states: ``random_state`` of each process of the checkpoint, in order of rank. Without one for this rank, the
            seed depends on the step, so that no numbers repeat.
        seed: seed of the run.
        rank: rank of this process.
        step: step of the checkpoint.
        device: device of this process.
    """
    if rank < len(states):
        set_random_state(states[rank], device)
    else:
        seed_process(seed, rank, step=step)


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of every global generator of the CPU and of ``device``, as tensors and plain values."""
    numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    numpy["state"]["key"] = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    state = {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state()}
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state(device)
    return state


def host_state(*, torch_too: bool = True) -> Hashable:
    """Return values that differ after a global generator of the host was drawn from, Python's, NumPy's or torch's."""
    _, key, position, *gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    states = (random.getstate(), np.asarray(key).tobytes(), position, *gauss)
    return (*states, torch.get_rng_state().numpy().tobytes()) if torch_too else states


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore a state; the state of another type of device is ignored."""
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values), gauss))
    numpy = copy.deepcopy(state["numpy"])
    numpy["state"]["key"] = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(numpy)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and "device" in state:
        torch.get_device_module(device).set_rng_state(state["device"], device)
