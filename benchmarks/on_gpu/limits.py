"""The machine: its card, driver and clocks, and the limits it reaches with a large matrix product and a large copy."""

import math
import subprocess
from collections.abc import Sequence
from typing import Any

from mcl.reports.markdown import count, table
from on_gpu.setup import Setup, one_line

TITLE = "The machine and its limits"
PRECISIONS = {"float32": "float32", "tf32": "float32", "bfloat16": "bfloat16", "float16": "float16"}
SIDE, BYTES = 8192, 2**30  # of the matrices; of the copy
REPEATS = 10
LOADED = 2.0  # seconds of products beside the query of the clock, which takes most of one
QUERY = (
    *("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw"),
    *("power.limit", "temperature.gpu", "utilization.gpu", "mig.mode.current"),
)


def measure(setup: Setup) -> dict[str, Any]:
    """Return the description of the machine, multiply-adds per second by precision, and bytes per second."""
    import torch

    from mcl.version import library_versions

    before = _query() if setup.device == "cuda" else {}
    products, clocks = {}, {}
    for precision, dtype in PRECISIONS.items():
        if precision == "tf32" and setup.device == "cpu":
            continue
        products[precision] = _product(setup, getattr(torch, dtype), tf32=precision == "tf32")
        if setup.device == "cuda":
            rate = products[precision]
            clocks[precision] = _clock_under_load(setup, getattr(torch, dtype), rate, tf32=precision == "tf32")
    return {
        "card": before,
        "clocks_under_load": clocks,
        "capability": list(torch.cuda.get_device_capability()) if setup.device == "cuda" else None,
        "gpus": torch.cuda.device_count() if setup.device == "cuda" else 0,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if setup.device == "cuda" else None,
        "libraries": library_versions(),
        "products": products,
        "copy": _copy(setup, setup.device, setup.device),
        "to_device": _copy(setup, "cpu", "cuda") if setup.device == "cuda" else None,
    }


def _product(setup: Setup, dtype: Any, *, tf32: bool) -> float:
    """Return the multiply-adds per second of the fastest product of two large square matrices."""
    import torch

    from mcl import devices
    from mcl.benchmarking import time_in_turns
    from on_gpu.forms import waiting

    side = setup.size(SIDE, 64)
    with devices.tf32(tf32):
        one, other = (torch.randn(side, side, device=setup.device).to(dtype) for _ in range(2))
        calls = {"product": lambda: torch.mm(one, other)}
        seconds = time_in_turns(calls, setup.size(REPEATS, 2), warm_up=2, synchronize=waiting(setup))["product"]
    return side**3 / min(seconds)


def _copy(setup: Setup, source: str, target: str) -> float:
    """Return the bytes per second that are read and written, or sent, of the fastest large copy."""
    import torch

    from mcl.benchmarking import time_in_turns
    from on_gpu.forms import waiting

    size = setup.size(BYTES, 2**16)
    pinned = source == "cpu" and target != "cpu"
    original = torch.empty(size, dtype=torch.uint8, device=source, pin_memory=pinned)
    copy = torch.empty(size, dtype=torch.uint8, device=target)
    calls = {"copy": lambda: copy.copy_(original, non_blocking=True)}
    seconds = time_in_turns(calls, setup.size(REPEATS, 2), warm_up=2, synchronize=waiting(setup))["copy"]
    return (1 if source != target else 2) * size / min(seconds)


def _clock_under_load(setup: Setup, dtype: Any, rate: float, *, tf32: bool) -> str:
    """Return the clock of the multiprocessors while products are computed, at so many multiply-adds per second."""
    import torch

    from mcl import devices

    with devices.tf32(tf32):
        one = torch.randn(SIDE, SIDE, device=setup.device).to(dtype)
        for _ in range(math.ceil(LOADED * rate / SIDE**3)):  # asynchronous: the query below runs beside them
            torch.mm(one, one)
        clock = _query().get("clocks.sm", "unknown")
        torch.cuda.synchronize()
    return clock


def _query() -> dict[str, str]:
    """Return what nvidia-smi reports about the first visible card; what it cannot is left out."""
    import os

    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader", f"--id={first}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return {"nvidia-smi": one_line(error)}
    values = [value.strip() for value in done.stdout.splitlines()[0].split(",")]
    return dict(zip(QUERY, values, strict=False))


def limits_of(found: dict[str, Any]) -> dict[str, float]:
    """Return the multiply-adds per second of a product, by precision."""
    products: dict[str, float] = found["products"]
    return products


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    rates = [f"{precision} {count(2 * rate)}FLOP/s" for precision, rate in found["products"].items()]
    return ", ".join([*rates, f"copy {count(found['copy'])}B/s"])


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    (row,) = rows
    found = row["found"]
    card = [f"{name} {value}" for name, value in found["card"].items()] or ["no GPU"]
    rates = [
        [
            f"product of two {precision} matrices",
            f"{count(2 * rate)}FLOP/s",
            found["clocks_under_load"].get(precision, "–"),
        ]
        for precision, rate in found["products"].items()
    ]
    rates.append(["copy on the device, read and written", f"{count(found['copy'])}B/s", "–"])
    if found["to_device"]:
        rates.append(["copy from pinned memory to the device", f"{count(found['to_device'])}B/s", "–"])
    libraries = ", ".join(f"{name} {value}" for name, value in found["libraries"].items())
    return [
        f"{row['where']['card']}: {', '.join(card)}. GPUs: {found['gpus']}. {libraries}, CUDA {found['cuda']}, cuDNN"
        f" {found['cudnn']}. Clocks and temperature are those before the measurements. A FLOP is a multiplication or an"
        " addition: a multiply-add is two.",
        "",
        *table(["limit", "fastest", "SM clock meanwhile"], rates, 1),
    ]
