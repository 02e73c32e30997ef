"""Shared parts of all benchmarks: options, taking turns, separate processes, a description of the machine."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

ANSWER = "answer: "  # what follows on such a line is JSON

Seconds = dict[str, list[float]]  # form -> of each call


def _option(default: Any, help: str, tiny: Any = None) -> Any:
    return field(default=default, metadata={"help": help, "tiny": default if tiny is None else tiny})


@dataclass(frozen=True)
class Options:
    """Sizes, and how often something is measured."""

    pair: str = _option("resnet32", "the pair of whole, meta_round and loop", "resnet8")
    batch: int = _option(128, "its batch size", 16)
    side: int = _option(32, "of its images, in pixels", 8)
    per_class: int = _option(500, "training images of each of its 100 classes", 4)
    repeats: int = _option(7, "turns of everything but meta rounds", 2)
    rounds: int = _option(5, "turns of meta rounds, and of memory banks", 1)
    rows: int = _option(100_000, "rows of a memory bank where the textbook is measured", 2000)
    all_rows: int = _option(1_281_167, "rows of a memory bank at full size", 4000)
    negatives: int = _option(8192, "of a sample, of memory banks", 64)
    growth_batch: int = _option(64, "batch size from which growth is measured", 8)


def alternate(calls: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1) -> Seconds:
    """Seconds of each call, all of them in turns. The first ``warm_up`` turns are not counted."""
    seconds: Seconds = {name: [] for name in calls}
    for turn in range(-warm_up, repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(of) for name, of in seconds.items()}


def apart(function: Callable[..., Any], **arguments: Any) -> Any:
    """``function(**arguments)`` in a process of its own; arguments and result pass as JSON.

    Raises:
        RuntimeError: that process gave no result.
    """
    command = [sys.executable, __file__, function.__module__, function.__name__, json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    answers = [line for line in done.stdout.splitlines() if line.startswith(ANSWER)]
    if done.returncode or not answers:
        killed = " (killed: was there too little memory?)" if done.returncode == -9 else ""
        raise RuntimeError(f"{function.__module__}.{function.__name__} ended with status {done.returncode}{killed}.")
    return json.loads(answers[-1].removeprefix(ANSWER))


def measured(part: str, options: dict[str, Any], code: dict[str, Any]) -> dict[str, Any]:
    """What a part found, and the circumstances. ``code`` is what `mcl.version.code_version` said at the beginning."""
    import torch

    from mcl.allocator import keep_freed_memory
    from mcl.version import library_versions

    keep_freed_memory(torch.device("cpu"))  # as training does
    threads = torch.get_num_threads()  # before anything may change it
    start = time.perf_counter()
    found = import_module(part).measure(Options(**options))
    return {
        "found": found,
        "options": options,
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "threads": threads, "system": platform.system()},
        "libraries": library_versions(),
        "code": code,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": time.perf_counter() - start,
    }


def circumstances(result: Mapping[str, Any]) -> str:
    """Of what `measured` gives, in a line."""
    machine, libraries, code = result["machine"], result["libraries"], result["code"]
    other = [f"{name} {value}" for name, value in result["options"].items() if value != asdict(Options())[name]]
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores, threads of PyTorch: {machine['threads']}, {machine['system']}",
        f"Python {libraries['python']}, torch {libraries['torch']}",
        f"commit {str(code['commit'])[:10]}{' with uncommitted changes' if code['dirty'] else ''}",
        f"{result['date']}, {result['seconds']:,.0f} s",
        *([f"other than by default: {', '.join(other)}"] if other else []),
    ]
    return "; ".join(parts) + "."


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    module, name, arguments = sys.argv[1:]
    print(ANSWER + json.dumps(getattr(import_module(module), name)(**json.loads(arguments))))
