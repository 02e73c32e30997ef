"""Contrast with memory banks: this implementation compared with the reference, and at the size of ImageNet.

Each measurement has its own process, on the CPU, in float32. `ms` is the median of a forward and backward pass to all
embeddings, after a warm-up pass. `MB` is the peak memory of the passes on top of the banks and the embeddings. The two
implementations take turns, and their losses must agree.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from measuring import Options, in_new_process

from mcl.reports.markdown import table

TITLE = "Memory banks"
MARGIN = 1.1  # free memory needed, as a multiple of the rows that the textbook gathers


@dataclass(frozen=True)
class Case:
    """An implementation and the sizes at which it is measured."""

    form: str  # "textbook" or "ours"
    samples: int
    negatives: int
    batch: int = 32
    stages: int = 4
    networks: int = 2
    positives: int = 1
    dim: int = 128
    repeats: int = 3

    @property
    def gathered(self) -> int:
        """Bytes of the rows that the textbook holds: four gathers for each ordered pair of stages."""
        pairs = self.networks * (self.networks - 1) * self.stages**2
        return 4 * pairs * self.batch * (1 + self.positives + self.negatives) * self.dim * 4


def measure(options: Options) -> dict[str, Any]:
    from mcl.benchmarking import usable_memory

    textbook = Case("textbook", options.rows, options.negatives)
    free = usable_memory("cpu")
    while free is not None and MARGIN * textbook.gathered > free:
        textbook = replace(textbook, negatives=textbook.negatives // 2)
    ours = replace(textbook, form="ours")
    full = replace(ours, samples=options.all_rows, negatives=options.negatives)
    turns: dict[Case, list[dict[str, float]]] = {textbook: [], ours: []}
    for _ in range(options.rounds):
        for case, measured in turns.items():
            measured.append(in_new_process(run_passes, case))
    slow, fast = (_medians(measured)["loss"] for measured in turns.values())
    assert abs(slow - fast) < 1e-4 * abs(slow), f"the implementations disagree: {slow} and {fast}"
    turns[full] = [in_new_process(run_passes, full)]
    return {"rows": [{"case": asdict(case), "turns": measured} for case, measured in turns.items()]}


def run_passes(case: Case) -> dict[str, float]:
    """Return ``{"ms", "MB", "loss"}`` of some passes in this process."""
    import torch
    import torch.nn.functional as F

    from mcl.benchmarking import time_in_turns
    from mcl.losses.memory import MemoryBank
    from mcl.peak_memory import peak_memory
    from mcl.reference.memory_bank import memory_contrast

    generator = torch.Generator().manual_seed(0)
    bank = MemoryBank(case.samples, case.networks, case.dim, generator=generator)
    raw = torch.randn(case.networks, case.stages, case.batch, case.dim, generator=generator)
    embeddings = F.normalize(raw, dim=-1).requires_grad_()
    counts = (case.positives, case.negatives)
    drawn = [torch.randint(case.samples, (case.batch, count), generator=generator) for count in counts]
    index = torch.randint(case.samples, (case.batch,), generator=generator)
    nodes = case.networks * case.stages
    weights = torch.rand(nodes, nodes, case.batch, generator=generator)
    options = {"tau": 0.07, "temperature": 3.0}

    def run_pass() -> float:
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
        loss = torch.stack([0.01 * terms.vcl, terms.soft_vcl, 0.01 * terms.icl, terms.soft_icl]).sum()
        torch.autograd.grad(loss, embeddings)
        return loss.item()

    before = peak_memory("cpu") or 0
    seconds = time_in_turns({"pass": run_pass}, case.repeats)["pass"]
    after = peak_memory("cpu") or 0
    return {"ms": 1e3 * median(seconds), "MB": (after - before) / 1e6, "loss": run_pass()}


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(turn[name] for turn in turns) for name in turns[0]}


def report(result: dict[str, Any], folder: Path) -> list[str]:
    rows = []
    cases = [Case(**row["case"]) for row in result["found"]["rows"]]
    measured = [_medians(row["turns"]) for row in result["found"]["rows"]]
    for case, values in zip(cases, measured, strict=True):
        banks = case.networks * case.samples * case.dim * 4 / 1e6
        sizes = [f"{case.samples:,}", f"{case.negatives:,}"]
        rows.append([case.form, *sizes, f"{values['ms']:,.1f}", f"{values['MB']:,.0f}", f"{banks:,.0f}"])
    (textbook, ours, _), (compared, _, full) = measured, cases
    fewer = (
        f" With {full.negatives:,} negatives, the rows that the textbook gathers did not fit into memory."
        if compared.negatives < full.negatives
        else ""
    )
    return [
        f"{full.networks} networks of {full.stages} stages, batches of {full.batch}; forward and backward. MB is the"
        " peak memory on top of the banks. Ours is"
        f" **{textbook['ms'] / ours['ms']:.1f} times as fast, with 1/{textbook['MB'] / ours['MB']:.1f} of the"
        f" memory**.{fewer}",
        "",
        *table(["", "rows", "negatives", "ms", "MB", "banks, MB"], rows, 1),
    ]
