"""Compare an optimization step of every method with one of `loss=independent`: time, memory and parameters.

    python benchmarks/methods.py                                  # all methods; on a GPU if there is one
    python benchmarks/methods.py kd one --device cpu              # only these
    python benchmarks/methods.py --rounds 200 --json methods.json

ResNet-8 and generated images of 32 px, in the precision and memory format that `train.py` chooses. Steps of all methods
take turns in one process, each after one of its baseline, so other work on the machine slows down both alike. Nothing
is downloaded.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from measuring import in_new_process, measure_part, provenance
from trainings import build_parts

from mcl.benchmarking import StepwiseTraining
from mcl.benchmarking.stopwatch import Stopwatch, synchronizer
from mcl.files import write_atomically
from mcl.peak_memory import peak_memory, reset_peak_memory
from mcl.reports.markdown import NONE, count, table
from mcl.training.overview import device_name
from mcl.version import code_version

TWO = (  # a baseline, then losses of two networks; a "/" begins a variant
    *("independent", "deep_supervision", "kd", "dml", "kdcl", "kdcl/linear", "cl_ilr", "pcl", "ffl", "switokd", "dks"),
    *("byot", "mcl", "lmcl", "lmcl/meta"),
)
STEM = ("independent/stem", "one", "okddip")  # likewise for four networks on a stem
META = ("lmcl/meta",)  # whose steps have their share of a meta round
WEIGHTS = Path(__file__).parents[1] / "experiments/few_images_tuned/weights/independent-resnet8"
OPTIONS = {
    "kd": ["pair.second.frozen=true", f"init_from={{second: '{WEIGHTS}/first-resnet8.safetensors'}}"],
    "kdcl/linear": ["loss.form=linear"],
}
WARM_UP = 5  # steps: the optimizer makes its buffers in the first one, CUDA graphs are recorded in the fourth


def baseline_of(name: str) -> str:
    """Return the row of independent training with the same networks."""
    return STEM[0] if name in STEM else TWO[0]


@dataclass(frozen=True)
class Settings:
    """The rows, baselines included, and the size of the measurement."""

    names: tuple[str, ...]
    batch: int
    device: str
    rounds: int


class Case:
    """The training of a row, at its first step."""

    def __init__(self, name: str, settings: Settings):
        images = ["dataset=synthetic", f"dataset.train_per_class={settings.batch}", "trainer.threads=1"]
        size = [f"trainer.batch_size={settings.batch}", f"trainer.device={settings.device}"]
        networks = f"pair={'resnet8_x4_stem' if name in STEM else 'resnet8'}"
        parts = build_parts([*images, *size, networks, f"loss={name.partition('/')[0]}", *OPTIONS.get(name, [])])
        trainer = parts.build_trainer(parts.dataset.load(), seed=0)
        self.options, self.cost = parts.options, trainer.cost
        self.meta_rounds = 1 / trainer.cost.interval if name in META else 0.0  # in each step
        self.training = StepwiseTraining(trainer)

    def step(self, watch: Stopwatch) -> float:
        """Take a step, and a meta round if it counts. Return the seconds of the step and of its share of the round."""
        batch = next(self.training.batches)
        with watch.phase("step"):
            self.training.step(batch)
        if self.meta_rounds:
            with watch.phase("meta round"):
                self.training.meta_round(batch)
        seconds = watch.take()
        return seconds["step"] + self.meta_rounds * seconds.get("meta round", 0.0)


def measure(settings: Settings) -> dict[str, Any]:
    """Return the device, the precision, and what was measured of each row."""
    cases = {name: Case(name, settings) for name in settings.names}
    seconds, options = time_steps(cases, settings.rounds), cases[settings.names[0]].options
    rows = {
        name: {
            "seconds": seconds[name],
            "multiply_adds": case.cost.step + case.meta_rounds * case.cost.meta_round,
            "bytes": in_new_process(measure_memory, name, settings),
            "parameters": case.cost.training_parameters,
        }
        for name, case in cases.items()
    }
    return {"device": device_name(options.device), "precision": options.precision, "rows": rows}


def time_steps(cases: Mapping[str, Case], rounds: int) -> dict[str, list[list[float]]]:
    """Return the seconds of a step of the baseline and of the next one of each row, which take turns.

    On the CPU this is the processor time of this thread.
    """
    device = next(iter(cases.values())).options.device
    watch = Stopwatch(synchronizer(device), time.thread_time if device.type == "cpu" else time.perf_counter)
    seconds: dict[str, list[list[float]]] = {name: [] for name in cases}
    for _ in range(WARM_UP + rounds):
        for name, case in cases.items():
            seconds[name].append([cases[baseline_of(name)].step(watch), case.step(watch)])
    return {name: pairs[WARM_UP:] for name, pairs in seconds.items()}


def measure_memory(name: str, settings: Settings) -> int | None:
    """Return the peak memory of the first steps: of tensors on a GPU, else what they add to this process."""
    case = Case(name, settings)
    device = case.options.device
    reset_peak_memory(device)
    before = 0 if device.type == "cuda" else peak_memory(device)
    for _ in range(WARM_UP):
        case.step(Stopwatch(synchronizer(device)))
    peak = peak_memory(device)
    return None if peak is None or before is None else peak - before


def report(result: dict[str, Any]) -> list[str]:
    """Return the table, with a text on what its columns are."""
    settings, found = result["options"], result["found"]
    rows = []
    for name, row in found["rows"].items():
        baseline = found["rows"][baseline_of(name)]
        ratios = [step / before for before, step in row["seconds"]]
        low, middle, high = quantiles(ratios, n=4, method="inclusive")
        work = row["multiply_adds"] / baseline["multiply_adds"]
        memory = NONE if row["bytes"] is None else f"{row['bytes'] / 1e6:,.0f}"
        times = [f"{1e3 * median(step for _, step in row['seconds']):.1f}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}"]
        rows.append([name, *times, f"{work:.2f}", memory, count(row["parameters"])])
    return [
        f"{found['device']}, {found['precision']}, batches of {settings['batch']} images, {settings['rounds']} turns."
        " ms: median of a step without its data; on a CPU, processor time on one thread. ×: to the step before it, of"
        " independent training of the same networks: two, or (stem, one, okddip) four on a stem of two stages; median"
        f" and middle half of all turns. MB: peak memory of the first {WARM_UP} steps in their own process: on a GPU of"
        " all tensors, else added to the process by these steps. Parameters: of networks and loss in training. lmcl has"
        " branches and no meta rounds; a step of lmcl/meta has its share of one, 1 / `loss.meta.interval`.",
        "",
        *table(["", "ms", "×", "middle half", "multiply-adds ×", "MB", "parameters"], rows, 1),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write all measurements to a file if one is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"{', '.join(TWO + STEM)}; default: all")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch (64)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (auto: a GPU if there is one)")
    parser.add_argument("--rounds", type=int, default=40, help="timed steps of each method, at least 2 (40)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for all measurements")
    typed = parser.parse_args(arguments)
    if unknown := [name for name in typed.methods if name not in TWO + STEM]:
        parser.error(f"unknown method: {', '.join(unknown)}. Choose from {', '.join(TWO + STEM)}.")
    if typed.rounds < 2:
        parser.error(f"--rounds {typed.rounds}: give at least 2.")
    chosen = {*typed.methods, *map(baseline_of, typed.methods)} or {*TWO, *STEM}
    names = tuple(name for name in TWO + STEM if name in chosen)
    settings = Settings(names, typed.batch, typed.device, typed.rounds)
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the processes that measure
    result = in_new_process(measure_part, "methods", settings, code_version())
    if typed.json:
        write_atomically(typed.json, json.dumps(result, indent=1) + "\n")
    print("\n".join([*report(result), provenance({**result, "options": {}})]))


if __name__ == "__main__":
    main()
