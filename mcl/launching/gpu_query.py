"""Ask PyTorch about the GPUs for jobs in separate processes, so that this one claims none."""

import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import mcl
from hydra_gpu_launcher.gpus import VISIBLE, display_name, is_mig
from mcl.config.grouping import environment_variable
from mcl.errors import UserError

_PROGRAM = """
import json, torch
from mcl.devices import default_precision
found = []
for number in range(torch.cuda.device_count()):
    with torch.cuda.device(number):
        found.append([default_precision("cuda"), str(getattr(torch.cuda.get_device_properties(number), "uuid", ""))])
print(json.dumps(found))
"""


def default_precisions(gpus: Sequence[str]) -> dict[str, str]:
    """Return the default precision of a run on each GPU.

    Args:
        gpus: entries of ``CUDA_VISIBLE_DEVICES``.

    Raises:
        UserError: PyTorch cannot find or use one of them.
    """
    return {gpu: precision for gpu, (precision, _) in _probe_all(gpus).items()}


def uuids(gpus: Sequence[str]) -> dict[str, str]:
    """Return the UUID of each GPU, such as ``GPU-8932f937-d72c-4106-c12f-20bd9faed9f6``; a MIG device has its own.

    Args:
        gpus: entries of ``CUDA_VISIBLE_DEVICES``.

    Raises:
        UserError: PyTorch cannot find or use one of them.
    """
    return {
        gpu: gpu if is_mig(gpu) else f"GPU-{uuid.removeprefix('GPU-')}" for gpu, (_, uuid) in _probe_all(gpus).items()
    }


def _probe_all(gpus: Sequence[str]) -> dict[str, tuple[str, str]]:
    numbers = [gpu for gpu in gpus if gpu.isdigit()]
    names = [gpu for gpu in gpus if not gpu.isdigit() and not is_mig(gpu)]  # CUDA does not mix them with numbers
    parts = [[gpu] for gpu in gpus if is_mig(gpu)]  # CUDA shows at most one part of a GPU
    groups = [group for group in (numbers, names, *parts) if group]
    if not groups:
        return {}
    with ThreadPoolExecutor(len(groups)) as pool:
        found = list(pool.map(_probe, map(tuple, groups)))
    for group, answers in zip(groups, found, strict=True):
        if len(answers) < len(group):  # CUDA stops at the first unknown one
            only = f", only {len(answers)} of {', '.join(map(display_name, group))}" if answers else ""
            raise UserError(
                f"hydra.launcher.devices: PyTorch does not find {display_name(group[len(answers)])}{only}. Give those"
                " that it finds, or hydra.launcher.devices=cpu."
            )
    return dict(zip(itertools.chain(*groups), itertools.chain(*found), strict=True))


def require_same_precision(precisions: dict[str, str]) -> None:
    """Raise UserError if the default precision of a run would depend on which of these GPUs it gets."""
    first: dict[str, str] = {}
    for gpu, precision in precisions.items():
        first.setdefault(precision, gpu)
    if len(first) > 1:
        each = " and ".join(f"{precision} on {display_name(gpu)}" for precision, gpu in first.items())
        allowed = " or ".join(f"trainer.precision={precision}" for precision in sorted(first))
        raise UserError(
            f"trainer.precision is {each} by default, so a run would depend on its GPU. Give {allowed}, or"
            " hydra.launcher.devices of one kind."
        )


def visible_devices(visible: str) -> AbstractContextManager[None]:
    """Compose under the devices that a job will see: they decide its precision, and so the name of its folder."""
    return environment_variable(VISIBLE, visible)


@functools.cache
def _probe(gpus: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the default precision and the UUID of each GPU that PyTorch finds."""
    home = str(Path(mcl.__file__).parents[1])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, VISIBLE: ",".join(gpus), "PYTHONPATH": path}
    process = subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True)
    try:
        return [(precision, uuid) for precision, uuid in json.loads(process.stdout.splitlines()[-1])]
    except (ValueError, IndexError):
        last = (process.stderr.strip().splitlines() or [f"exit {process.returncode}"])[-1]
        raise UserError(
            f"hydra.launcher.devices: PyTorch cannot use {', '.join(map(display_name, gpus))}: {last}"
        ) from None
