"""Measure one configuration in a process of its own: ``python -m mcl.benchmarking.measure FOLDER``.

So that peak memory is its own, threads can be set, and whatever kills it kills nothing else. ``FOLDER/request.json``
says what to measure; the answer, or what was wrong, goes to ``FOLDER/answer.json``.
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

from mcl.benchmarking.peak_memory import kind_of_memory, peak_memory, usable_memory
from mcl.benchmarking.peak_rate import convolution_peak
from mcl.benchmarking.phases import PHASES, phases_of
from mcl.benchmarking.steps import Steps, run_steps
from mcl.benchmarking.stopwatch import Stopwatch, synchronizer
from mcl.data.dataset import DataSpec
from mcl.devices import ALL_THREADS
from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.training.overview import device_name
from mcl.training.setup import assemble
from mcl.training.trainer import Trainer

REQUEST, ANSWER = "request.json", "answer.json"
GROUPS = ("dataset", "pair", "loss", "sampler", "optimizer", "schedule", "trainer", "seed", "allow_modules")


@dataclass(frozen=True)
class Request:
    """What to measure.

    Args:
        config: the `GROUPS` of a configuration, resolved.
        steps: that count; fewer when they take longer than ``seconds``, but ``least``.
        warm_up: steps before them.
        least: see ``steps``.
        seconds: see ``steps``; for meta rounds as much again.
        meta_rounds: to time, beside the very first one.
        details: the phases of a step and the convolution peak, too.
    """

    config: dict[str, Any]
    steps: int
    warm_up: int
    least: int
    seconds: float
    meta_rounds: int
    details: bool


def measure(request: Request) -> dict[str, Any]:
    """Train for some steps; times in seconds, memory in bytes, rates in multiply-adds per second.

    Raises:
        UserError: training would not start, or its loss is not finite.
    """
    begun = time.perf_counter()
    parts = assemble(OmegaConf.create({**request.config, "tracking": {}}))
    options, loss = parts.options, parts.learner.loss
    usable = usable_memory(options.device)
    trainer = parts.build_trainer(parts.dataset.load(), seed=request.config["seed"])
    total_steps, start = trainer.progress.total_steps, time.perf_counter() - begun
    steps = _run(trainer, request)
    phases = _run_in_phases(trainer, request) if request.details else None  # other steps: the clocks take time, too
    peak_bytes = peak_memory(options.device)
    precisions = {options.precision, "float32"} if loss.meta is not None else {options.precision}
    return {
        "device": device_name(options.device),
        "threads": torch.get_num_threads() if options.device.type == "cpu" else None,
        "most_threads": ALL_THREADS if options.device.type == "cpu" else None,
        "data": _in_words(parts.dataset.spec),
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
        "memory": peak_bytes,
        "memory_kind": kind_of_memory(options.device),
        "usable_memory": usable,
        "phases": phases,
        "peaks": {name: convolution_peak(options.device, name) for name in precisions} if request.details else None,
    }


def _in_words(spec: DataSpec) -> str:
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
    """Run the same steps once more. Return the seconds of every phase.

    These are means over the middle half of the steps: unlike medians, they add up.
    """
    watch, records = Stopwatch(synchronizer(trainer.options.device)), list[dict[str, float]]()
    with phases_of(trainer, watch):
        further = replace(request, meta_rounds=0)
        steps = _run(trainer, further, after_step=lambda: records.append(watch.take()))
    counted = [
        {name: record[name] for name in PHASES if name in record}  # without the meta round, which few steps have
        for record in records[request.warm_up :][: len(steps.seconds)]
    ]
    counted.sort(key=lambda record: sum(record.values()))
    outside = len(counted) // 4
    middle = counted[outside : len(counted) - outside]
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


def _end_with_parent() -> None:
    """Whoever asked holds the other end of the standard input: its end is theirs, and then nobody wants an answer."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    _end_with_parent()
    main(Path(sys.argv[1]))
