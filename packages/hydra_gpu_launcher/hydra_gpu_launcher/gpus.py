"""Find the GPUs for jobs, without torch, so that this process claims none."""

import itertools
import logging
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence

from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.launch_options import invalid_value

VISIBLE = "CUDA_VISIBLE_DEVICES"
CPU = "cpu"
_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]+")  # MIG-UUID, and the older MIG-GPU-UUID/INSTANCE/INSTANCE
_GPU = re.compile(r"^GPU (\d+):.*\(UUID: ((?:GPU|MIG)-[^)\s]+)\)", re.MULTILINE)  # a line of `nvidia-smi -L`
_PART = re.compile(r"\s+MIG .*\(UUID: ((?:GPU|MIG)-[^)\s]+)\)")
_NO_GPU = re.compile(r"no devices (were )?found", re.IGNORECASE)
_ALLOWED = "auto, cpu, or a list of GPUs by number or name, such as [0,1] or [GPU-8932f937]"

logger = logging.getLogger(__name__)


def find_gpus(
    asked: str | int | Sequence[str | int], environment: Mapping[str, str], listing: Callable[[], str] | None = None
) -> list[str]:
    """Return the GPUs for jobs, each as an entry of ``CUDA_VISIBLE_DEVICES``; an empty list means the CPU.

    Args:
        asked: ``"auto"`` for the GPUs of ``CUDA_VISIBLE_DEVICES`` or, if it is not set, of ``nvidia-smi -L`` (by name
            if it reports a broken one); ``"cpu"`` for none; or a list, in which numbers index an outer
            ``CUDA_VISIBLE_DEVICES``, as in CUDA itself.
        environment: environment variables of this process.
        listing: returns the output of ``nvidia-smi -L``; empty if it is not installed.

    Raises:
        LauncherError: a device is invalid, named twice, or not in ``CUDA_VISIBLE_DEVICES``; or ``nvidia-smi`` fails.
    """
    outer = _outer(environment[VISIBLE]) if VISIBLE in environment else None
    if asked == "auto":
        return _from_listing((listing or nvidia_smi)()) if outer is None else outer
    if asked == CPU or asked == [CPU]:
        return []
    if not isinstance(asked, str | int | Sequence):
        raise invalid_value("devices", "null" if asked is None else asked, _ALLOWED)
    wanted = [asked] if isinstance(asked, str | int) else list(asked)
    if not wanted:
        raise invalid_value("devices", "[]", _ALLOWED)
    gpus = [_resolve(device, outer) for device in wanted]
    if any(_is_same(one, other) for one, other in itertools.combinations(gpus, 2)):
        given = ",".join(map(str, wanted))
        raise LauncherError(
            f"hydra.launcher.devices=[{given}]: a device is named twice. To run several jobs on each at a time use"
            " hydra.launcher.per_gpu."
        )
    return gpus


def _is_same(one: str, other: str) -> bool:
    """Return whether two entries name one GPU. The UUID of a GPU may be abbreviated, that of a MIG device may not."""
    if one.startswith("GPU-") and other.startswith("GPU-"):
        return one.startswith(other) or other.startswith(one)
    return one == other


def display_name(gpu: str) -> str:
    """Return a short name for display: ``GPU 0``, ``GPU-8932f937``."""
    return f"GPU {gpu}" if _NUMBER.fullmatch(gpu) else gpu[:12]


def is_mig(gpu: str) -> bool:
    """Return whether it is a part of a GPU (MIG); CUDA shows a process at most one."""
    return gpu.startswith("MIG-")


def nvidia_smi() -> str:
    """Return the output of ``nvidia-smi -L``; empty if it is not installed.

    Raises:
        LauncherError: it fails and lists no GPU, as after a driver update.
    """
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=60,
        )
    except FileNotFoundError:
        return ""
    except (OSError, subprocess.SubprocessError) as error:
        raise _failure(str(error)) from error
    if done.returncode and not _GPU.search(done.stdout) and not _NO_GPU.search(done.stdout):
        raise _failure(" ".join(done.stdout.split()) or f"exit status {done.returncode}")
    return done.stdout


def _failure(reason: str) -> LauncherError:
    return LauncherError(
        f"hydra.launcher.devices=auto: nvidia-smi -L fails ({reason}). Use hydra.launcher.devices=cpu, or name the"
        " GPUs, such as hydra.launcher.devices=[0,1]."
    )


def _resolve(device: object, outer: list[str] | None) -> str:
    if isinstance(device, bool) or not isinstance(device, str | int):
        raise invalid_value("devices", device, _ALLOWED)
    text = str(device).strip()
    if _NUMBER.fullmatch(text):
        if outer is None:
            return str(int(text))
        if int(text) < len(outer):
            return outer[int(text)]
        raise LauncherError(
            f"hydra.launcher.devices: {text} is not among the {len(outer)} of {VISIBLE}={','.join(outer)}, which are"
            " counted from 0."
        )
    if not _NAME.fullmatch(text):
        raise invalid_value("devices", device, _ALLOWED)
    if outer is None or any(_NUMBER.fullmatch(gpu) for gpu in outer):  # numbers and names cannot be compared
        return text
    matching = [gpu for gpu in outer if gpu.startswith(text) or text.startswith(gpu)]
    if not matching:
        raise LauncherError(f"hydra.launcher.devices: {text} is not among {VISIBLE}={','.join(outer)}.")
    return matching[0]


def _outer(value: str) -> list[str]:
    """Return the entries that CUDA uses: those before the first invalid one."""
    gpus: list[str] = []
    for entry in (part.strip() for part in value.split(",")):
        if not (_NUMBER.fullmatch(entry) or _NAME.fullmatch(entry)):
            break
        if any(_is_same(entry, other) for other in gpus):
            raise LauncherError(f"{VISIBLE}={value}: {entry} is there twice, so CUDA would show no device at all.")
        gpus.append(entry)
    return gpus


def _from_listing(text: str) -> list[str]:
    """Return numbers; or names if there are MIG devices, which have none, or a broken GPU, which shifts them."""
    gpus: list[tuple[str, list[str]]] = []  # name and MIG devices
    numbers, problems = [], []
    for line in text.splitlines():
        if gpu := _GPU.match(line):
            numbers.append(int(gpu[1]))
            gpus.append((gpu[2], []))
        elif gpus and (part := _PART.match(line)):
            gpus[-1][1].append(part[1])
        elif line.strip():
            problems.append(line.strip())
    if not gpus:
        return []
    names = [device for name, parts in gpus for device in (parts or [name])]
    expected = list(range(len(gpus)))
    if numbers != expected and not problems:
        problems = [f"the GPUs are numbered {', '.join(map(str, numbers))}."]
    if problems:
        used = ", ".join(map(display_name, names))
        logger.warning("nvidia-smi -L: %s Jobs use %s.", " ".join(problems), used)
    if problems or any(parts for _, parts in gpus):
        return names
    return [str(number) for number in expected]


def listed_uuids(gpus: Sequence[str], listing: str) -> list[str]:
    """Return the UUIDs of GPUs; a MIG device has its own.

    Args:
        gpus: entries of ``CUDA_VISIBLE_DEVICES``; numbers count as in nvidia-smi (``CUDA_DEVICE_ORDER=PCI_BUS_ID``).
        listing: output of ``nvidia-smi -L``.

    Raises:
        LauncherError: one of them is not listed.
    """
    names = {gpu[1]: gpu[2] for gpu in map(_GPU.match, listing.splitlines()) if gpu}
    return [gpu if is_mig(gpu) else _uuid(gpu, names) for gpu in gpus]


def _uuid(gpu: str, names: Mapping[str, str]) -> str:
    for number, name in names.items():
        if gpu == number or (gpu.startswith("GPU-") and name.startswith(gpu)):
            return name
    listed = ", ".join(map(display_name, names)) or "none"
    raise LauncherError(f"hydra.launcher.devices: {display_name(gpu)} is not in nvidia-smi -L. It lists: {listed}.")
