"""Measure one configuration in its own process: ``python -m mcl.benchmarking.measure FOLDER``.

In its own process it has its own peak memory and number of threads, and a crash ends nothing else.
``FOLDER/request.json`` defines what to measure; the answer, or the reason why there is none, goes to
``FOLDER/answer.json``.
"""

import json
import os
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from omegaconf import OmegaConf

from mcl.benchmarking.machine_memory import usable_memory
from mcl.benchmarking.peak_rate import convolution_peak
from mcl.benchmarking.phases import PHASES, timed_phases
from mcl.benchmarking.pixel_differences import pixel_difference
from mcl.benchmarking.steps import Steps, run_steps
from mcl.benchmarking.stopwatch import Stopwatch, synchronizer
from mcl.data.dataset import DataSpec
from mcl.devices import ALL_THREADS
from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.peak_memory import kind_of_memory, peak_memory
from mcl.training.overview import device_name
from mcl.training.setup import assemble
from mcl.training.trainer import Trainer

REQUEST, ANSWER = "request.json", "answer.json"
GROUPS = (
    "dataset",
    "pair",
    "loss",
    "sampler",
    "optimizer",
    "schedule",
    "trainer",
    "seed",
    "allow_modules",
    "init_from",
)


@dataclass(frozen=True)
class Request:
    """Request for a measurement.

    Args:
        config: the `GROUPS` of a configuration, resolved.
        steps: steps to time; fewer if they take longer than ``seconds``, but at least ``least``.
        warm_up: steps before them.
        least: see ``steps``.
        seconds: see ``steps``; meta rounds may take as much again.
        meta_rounds: meta rounds to time after the first.
        details: also measure the phases of a step and the convolution peak.
    """

    config: dict[str, Any]
    steps: int
    warm_up: int
    least: int
    seconds: float
    meta_rounds: int
    details: bool


def measure(request: Request) -> dict[str, Any]:
    """Train for some steps. Return times in seconds, memory in bytes, rates in multiply-adds per second.

    Raises:
        UserError: training would not start, or its loss is not finite.
    """
    begun = time.perf_counter()
    parts = assemble(OmegaConf.create({**request.config, "tracking": {}}))
    options, loss, device = parts.options, parts.learner.loss, parts.options.device
    usable = usable_memory(device)
    splits = parts.dataset.load()
    trainer = parts.build_trainer(splits, seed=request.config["seed"])
    total_steps, start = trainer.progress.total_steps, time.perf_counter() - begun
    steps = _run(trainer, request)
    phases = _run_in_phases(trainer, request) if request.details else None  # other steps: these clocks take time, too
    peak_bytes = peak_memory(device)
    precisions = {options.precision, "float32"} if loss.meta is not None else {options.precision}
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "most_threads": ALL_THREADS if device.type == "cpu" else None,
        "data": _describe(parts.dataset.spec),
        "networks": parts.learner.cohort.names,
        "batch_size": options.batch_size,
        "precision": options.precision,
        "channels_last": options.memory_format is torch.channels_last,
        "epochs": options.epochs,
        "steps_per_epoch": len(trainer.loader),
        "total_steps": total_steps,
        "interval": loss.meta.interval if loss.meta is not None else None,
        "multiply_adds": {"step": trainer.cost.step, "meta_round": trainer.cost.meta_round},
        "start": start,
        "first_step": steps.first,
        "step": median(steps.seconds),
        "steps": steps.seconds,
        "meta_round": median(steps.meta_rounds) if steps.meta_rounds else None,
        "losses": steps.losses,
        "pixel_difference": pixel_difference(splits.train, device),
        "memory": peak_bytes,
        "memory_kind": kind_of_memory(device),
        "usable_memory": usable,
        "phases": phases,
        "peaks": {name: convolution_peak(device, name) for name in precisions} if request.details else None,
    }


def _describe(spec: DataSpec) -> str:
    size = f"{spec.channels} x {spec.image_size} x {spec.image_size}"
    return f"{sum(spec.counts):,} training images, {spec.num_classes} classes, {size}"


def _run(trainer: Trainer, request: Request, **options: Any) -> Steps:
    return run_steps(
        trainer,
        request.steps,
        warm_up=request.warm_up,
        least=request.least,
        budget=request.seconds,
        meta_rounds=request.meta_rounds,
        **options,
    )


def _run_in_phases(trainer: Trainer, request: Request) -> dict[str, float]:
    """Run the same steps again. Return the seconds of each phase, without the meta round, which few steps have.

    These are means over the middle half of the steps: unlike medians, they add up.
    """
    watch, records = Stopwatch(synchronizer(trainer.options.device)), list[dict[str, float]]()
    with timed_phases(trainer, watch):
        steps = _run(trainer, replace(request, meta_rounds=0), after_step=lambda: records.append(watch.take()))
    timed = [
        {name: record[name] for name in PHASES if name in record}
        for record in records[request.warm_up :][: len(steps.seconds)]
    ]
    timed.sort(key=lambda record: sum(record.values()))
    quarter = len(timed) // 4
    middle = timed[quarter : len(timed) - quarter]
    present = [name for name in PHASES if any(name in record for record in middle)]
    return {name: fmean(record.get(name, 0.0) for record in middle) for name in present}


def main(folder: Path) -> None:
    """Answer the request in a folder."""
    request = Request(**json.loads((folder / REQUEST).read_text()))
    try:
        answer = measure(request)
    except UserError as error:
        answer = {"refused": str(error)}
    except torch.OutOfMemoryError as error:
        answer = {"failed": f"out of memory: {str(error).splitlines()[0]}"}
    write_atomically(folder / ANSWER, json.dumps(answer))


def _exit_with_parent() -> None:
    """Exit once standard input ends: the parent holds its other end, and without a parent nobody needs the answer."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    _exit_with_parent()
    main(Path(sys.argv[1]))
