"""Shared parts of the benchmarks: options, separate processes, a description of the machine."""

import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

Seconds = dict[str, list[float]]  # implementation -> seconds of each call


def _option(default: Any, help: str, tiny: Any = None) -> Any:
    return field(default=default, metadata={"help": help, "tiny": default if tiny is None else tiny})


@dataclass(frozen=True)
class Options:
    """Sizes and numbers of repetitions."""

    pair: str = _option("resnet32", "the pair of whole, meta_round and loop", "resnet8")
    batch: int = _option(128, "its batch size", 16)
    side: int = _option(32, "side of its images, in pixels", 8)
    per_class: int = _option(500, "training images of each of its 100 classes", 4)
    repeats: int = _option(7, "repetitions of everything but meta rounds and memory banks", 2)
    rounds: int = _option(5, "repetitions of meta rounds and of memory banks", 1)
    rows: int = _option(100_000, "rows of the memory bank on which the textbook is measured", 2000)
    all_rows: int = _option(1_281_167, "rows of the full-size memory bank", 4000)
    negatives: int = _option(8192, "negatives of a sample in the memory bank", 64)
    epochs: int = _option(20, "epochs of the first run", 1)
    growth_batch: int = _option(64, "batch size from which growth is measured", 8)


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(values) for name, values in seconds.items()}


class Ratio(NamedTuple):
    """A ratio of medians, with the middle half of the ratios of calls made one after the other."""

    value: float
    low: float
    high: float


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Return the ratio of two series that were measured in turns."""
    pairs = sorted(a / b for a, b in zip(numerators, denominators, strict=True))
    quarter = len(pairs) // 4
    return Ratio(median(numerators) / median(denominators), pairs[quarter], pairs[-1 - quarter])


def new_process() -> ProcessPoolExecutor:
    """Return an executor with one fresh process, which has its own threads, allocator and peak memory."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)``, called in a fresh process.

    Raises:
        BrokenProcessPool: the process was killed.
    """
    with new_process() as process:
        return process.submit(function, *arguments).result()


def measure_part(part: str, options: Options, code: dict[str, Any]) -> dict[str, Any]:
    """Return the results of a part with their provenance.

    Args:
        part: module of this folder.
        options: sizes and repetitions.
        code: `mcl.version.code_version`, taken before the first part wrote its results.
    """
    import torch

    from mcl.allocator import keep_freed_memory
    from mcl.version import library_versions

    keep_freed_memory(torch.device("cpu"))  # training does the same
    threads = torch.get_num_threads()  # before anything may change it
    start = time.perf_counter()
    found = import_module(part).measure(options)
    return {
        "found": found,
        "options": asdict(options),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "threads": threads, "system": platform.system()},
        "libraries": library_versions(),
        "code": code,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": time.perf_counter() - start,
    }


def read_records(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of results so far; a torn last one is left out, and removed from the file."""
    if not file.exists():
        return []
    lines = file.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
        file.write_bytes(b"".join(lines))
    return [json.loads(line) for line in lines]


def provenance(result: Mapping[str, Any]) -> str:
    """Describe in one line where, when and with which code a part was measured."""
    machine, libraries, code = result["machine"], result["libraries"], result["code"]
    changed = [f"{name} {value}" for name, value in result["options"].items() if value != asdict(Options())[name]]
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores, threads of PyTorch: {machine['threads']}, {machine['system']}",
        f"Python {libraries['python']}, torch {libraries['torch']}",
        f"commit {str(code['commit'])[:10]}{' with uncommitted changes' if code['dirty'] else ''}",
        f"{result['date']}, {result['seconds']:,.0f} s",
    ]
    if changed:
        parts.append(f"non-default options: {', '.join(changed)}")
    return "; ".join(parts) + "."


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
