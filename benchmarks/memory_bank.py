"""Contrast with memory banks: this implementation beside the reference, and at the size of ImageNet.

Every measurement has a process of its own, on the CPU, in float32. `ms` is the median of a forward and backward pass to
all embeddings, after one that is not counted. `MB` is what the passes need at their peak beside the banks and the
embeddings. Both forms take turns, and their losses must agree.
"""

import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from measuring import Options, apart

from mcl.reports.markdown import table

TITLE = "Memory banks"
SPARE = 1.1  # memory there must be, over what the textbook's gathered rows take


@dataclass(frozen=True)
class Case:
    """What is measured: a form, the sizes."""

    form: str
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
    from mcl.data.available_memory import available_memory

    textbook = Case("textbook", options.rows, options.negatives)
    free = available_memory()
    while free is not None and SPARE * textbook.gathered > free:
        textbook = replace(textbook, negatives=textbook.negatives // 2)
    ours = replace(textbook, form="ours")
    full = replace(ours, samples=options.all_rows, negatives=options.negatives)
    turns = [(case, apart(passes, case=asdict(case))) for _ in range(options.rounds) for case in (textbook, ours)]
    found = [{"case": asdict(case), "turns": [of for one, of in turns if one is case]} for case in (textbook, ours)]
    found.append({"case": asdict(full), "turns": [apart(passes, case=asdict(full))]})
    slow, fast = (_middle(of)["loss"] for of in found[:2])
    assert abs(slow - fast) < 1e-4 * abs(slow), f"the two forms disagree: {slow} and {fast}"
    return {"rows": found}


def passes(case: dict[str, Any]) -> dict[str, float]:
    """``{"ms", "MB", "loss"}`` of some passes in this process."""
    return _passes(Case(**case))


def _passes(case: Case) -> dict[str, float]:
    import torch
    import torch.nn.functional as F

    from mcl.benchmarking.peak_memory import peak_memory
    from mcl.losses.memory import MemoryBank
    from mcl.reference.memory_bank import memory_contrast

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

    cpu = torch.device("cpu")
    before = peak_memory(cpu) or 0
    seconds = []
    for _ in range(case.repeats + 1):
        start = time.perf_counter()
        loss = total()
        torch.autograd.grad(loss, embeddings)
        seconds.append(time.perf_counter() - start)
    after = peak_memory(cpu) or 0
    return {"ms": 1e3 * statistics.median(seconds[1:]), "MB": (after - before) / 1e6, "loss": loss.item()}


def _middle(found: dict[str, Any]) -> dict[str, float]:
    return {name: statistics.median(turn[name] for turn in found["turns"]) for name in found["turns"][0]}


def report(result: dict[str, Any], folder: Path) -> list[str]:
    rows, middles = [], []
    for found in result["found"]["rows"]:
        case, middle = Case(**found["case"]), _middle(found)
        banks = case.networks * case.samples * case.dim * 4 / 1e6
        rows.append(
            [case.form, *(f"{of:,}" for of in (case.samples, case.negatives)), f"{middle['ms']:,.1f}"]
            + [f"{of:,.0f}" for of in (middle["MB"], banks)]
        )
        middles.append(middle)
    slow, fast, _ = middles
    compared, full = (result["found"]["rows"][i]["case"]["negatives"] for i in (0, 2))
    fewer = f" With {full:,} negatives, what the textbook gathers did not fit into memory." if compared < full else ""
    return [
        f"{case.networks} networks of {case.stages} stages, batches of {case.batch}; forward and backward. MB is what"
        " that takes beside the banks. Ours is"
        f" **{slow['ms'] / fast['ms']:.1f} times as fast, with 1/{slow['MB'] / fast['MB']:.1f} of the memory**.{fewer}",
        "",
        *table(["", "rows", "negatives", "ms", "MB", "banks, MB"], rows, 1),
    ]
