"""Ask PyTorch about the GPUs for jobs, in separate processes, so that no GPU is claimed here."""

import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import mcl
from mcl.errors import UserError
from mcl.launching.gpus import VISIBLE, display_name, is_mig

_PROGRAM = """
import json, torch
from mcl.devices import default_precision
found = []
for number in range(torch.cuda.device_count()):
    with torch.cuda.device(number):
        found.append(default_precision("cuda"))
print(json.dumps(found))
"""


def default_precisions(gpus: Sequence[str]) -> dict[str, str]:
    """Return the precision that a run takes on each GPU, unless one is chosen.

    Args:
        gpus: entries of ``CUDA_VISIBLE_DEVICES``.

    Raises:
        UserError: one of them is not there, or PyTorch cannot use it.
    """
    together = [[gpu for gpu in gpus if not is_mig(gpu) and gpu.isdigit() == numbers] for numbers in (True, False)]
    groups = [*filter(None, together), *([gpu] for gpu in gpus if is_mig(gpu))]  # CUDA shows one part of a GPU at most
    if not groups:
        return {}
    with ThreadPoolExecutor(len(groups)) as pool:
        found = list(pool.map(_ask, map(tuple, groups)))
    for group, precisions in zip(groups, found, strict=True):
        if len(precisions) < len(group):  # CUDA stops at the first that it does not know
            raise UserError(
                f"hydra.launcher.devices: {display_name(group[len(precisions)])} is not there for PyTorch, which finds"
                f" {len(precisions)} of {', '.join(map(display_name, group))}. Give those that are there, or"
                " hydra.launcher.devices=cpu."
            )
    return dict(zip(itertools.chain(*groups), itertools.chain(*found), strict=True))


def refuse_unlike(precisions: dict[str, str]) -> None:
    """Raise UserError if the settings of a run would depend on which of these GPUs it gets."""
    first: dict[str, str] = {}
    for gpu, precision in precisions.items():
        first.setdefault(precision, gpu)
    if len(first) > 1:
        each = " and ".join(f"{precision} on {display_name(gpu)}" for precision, gpu in first.items())
        allowed = " or ".join(f"trainer.precision={precision}" for precision in sorted(first))
        raise UserError(
            f"trainer.precision is {each} by default, so that a run would depend on the GPU it gets. Give {allowed}, or"
            " hydra.launcher.devices of one kind."
        )


@contextmanager
def seeing(visible: str) -> Iterator[None]:
    """Compose under the devices that a job will see: they decide the precision, and so the name of its folder."""
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = visible
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


@functools.cache
def _ask(gpus: tuple[str, ...]) -> list[str]:
    home = str(Path(mcl.__file__).parents[1])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, VISIBLE: ",".join(gpus), "PYTHONPATH": path}
    asked = subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True)
    try:
        return list(json.loads(asked.stdout.splitlines()[-1]))
    except (ValueError, IndexError):
        last = (asked.stderr.strip().splitlines() or [f"exit {asked.returncode}"])[-1]
        raise UserError(
            f"hydra.launcher.devices: PyTorch cannot use {', '.join(map(display_name, gpus))}: {last}"
        ) from None
