"""Time and memory of the contrast with memory banks: ours beside the textbook form, and ours at ImageNet's size.

    python experiments/speed/memory_bank.py --threads 1 2

Every line is measured in a process of its own, on the CPU, in float32. `ms` is the median of a forward and backward
pass to all embeddings, after one that is not counted. `MB` is what the passes need at their peak beside the banks and
the embeddings (high-water mark of resident memory, less that before the first pass). At the smaller size both forms
take turns, and their losses must agree.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Case:
    """What is measured: a form, the sizes, the threads."""

    form: str
    samples: int
    negatives: int
    threads: int
    batch: int = 32
    stages: int = 4
    networks: int = 2
    positives: int = 1
    dim: int = 128
    repeats: int = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--threads", type=int, nargs="+", default=[1, 2], help="threads of PyTorch, each measured (1 2)")
    add("--batch", type=int, default=32, help="images of a batch (32)")
    add("--stages", type=int, default=4, help="stages of each network (4)")
    add("--samples", type=int, default=1_281_167, help="rows of a bank at full size (those of ImageNet)")
    add("--negatives", type=int, default=8192, help="negatives of a sample at full size (8192)")
    add("--small-samples", type=int, default=100_000, help="rows where both forms are measured (100000)")
    add("--small-negatives", type=int, default=1024, help="negatives there: the textbook gathers 4 times a pair (1024)")
    add("--repeats", type=int, default=5, help="passes of a measurement (5)")
    add("--rounds", type=int, default=3, help="measurements of each form at the smaller size, in turns (3)")
    add("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(Case(**json.loads(given.measure)))))
        return
    print(f"{'form':<9} {'threads':>7} {'rows':>9} {'negatives':>9} {'ms':>9} {'MB':>7} {'banks, MB':>10}")
    for threads in given.threads:
        shared = {"threads": threads, "batch": given.batch, "stages": given.stages, "repeats": given.repeats}
        textbook = Case("textbook", given.small_samples, given.small_negatives, **shared)
        ours = replace(textbook, form="ours")
        found: dict[str, list[dict[str, float]]] = {"textbook": [], "ours": []}
        for _ in range(given.rounds):
            for case in (textbook, ours):
                found[case.form].append(apart(case))
        slow, fast = line(textbook, found["textbook"]), line(ours, found["ours"])
        assert abs(slow["loss"] - fast["loss"]) < 1e-4 * abs(slow["loss"]), "the two forms disagree"
        print(
            f"          ours: {slow['ms'] / fast['ms']:.1f} times as fast, 1/{slow['MB'] / fast['MB']:.1f} the memory"
        )
        full = replace(ours, samples=given.samples, negatives=given.negatives)
        line(full, [apart(full)])


def line(case: Case, found: list[dict[str, float]]) -> dict[str, float]:
    """Print the median of some measurements, and give it back."""
    middle = {name: statistics.median(each[name] for each in found) for name in found[0]}
    banks = case.networks * case.samples * case.dim * 4 / 1e6
    print(f"{case.form:<9} {case.threads:>7} {case.samples:>9} {case.negatives:>9}", end=" ")
    print(f"{middle['ms']:>9.1f} {middle['MB']:>7.0f} {banks:>10.0f}", flush=True)
    return middle


def apart(case: Case) -> dict[str, float]:
    """Measure in a new process. Its high-water mark starts from that of this one, which therefore stays small."""
    command = [sys.executable, __file__, "--measure", json.dumps(asdict(case))]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout)


def measure(case: Case) -> dict[str, float]:
    import torch
    import torch.nn.functional as F

    from mcl.losses.memory import MemoryBank
    from mcl.textbook.memory import memory_contrast

    torch.set_num_threads(case.threads)
    generator = torch.Generator().manual_seed(0)
    bank = MemoryBank(case.samples, case.networks, case.dim, generator=generator)
    raw = torch.randn(case.networks, case.stages, case.batch, case.dim, generator=generator)
    embeddings = F.normalize(raw, dim=-1).requires_grad_()
    counts = (case.positives, case.negatives)
    drawn = [torch.randint(case.samples, (case.batch, count), generator=generator) for count in counts]
    index = torch.randint(case.samples, (case.batch,), generator=generator)
    places = case.networks * case.stages
    weights = torch.rand(places, places, case.batch, generator=generator)
    options = {"tau": 0.07, "temperature": 3.0}

    def total() -> torch.Tensor:
        if case.form == "ours":
            terms = bank.contrast(list(embeddings), index, *drawn, weights, **options)
        else:
            terms = memory_contrast(
                [list(network) for network in embeddings],
                list(bank.rows),
                index,
                *drawn,
                lambda i, k, j, m: weights[i * case.stages + k, j * case.stages + m],
                **options,
            )
        return torch.stack([0.01 * terms.vcl, terms.soft_vcl, 0.01 * terms.icl, terms.soft_icl]).sum()

    before = high_water()
    seconds = []
    for _ in range(case.repeats + 1):
        start = time.perf_counter()
        loss = total()
        torch.autograd.grad(loss, embeddings)
        seconds.append(time.perf_counter() - start)
    peak = high_water() - before
    return {"ms": 1e3 * statistics.median(seconds[1:]), "MB": peak / 1e6, "loss": loss.item()}


def high_water() -> float:
    """Bytes of resident memory at their most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
