"""The contrast alone: forward, and backward to the embeddings."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import Options, medians

from mcl.reports.markdown import table

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "Contrast alone"
SIZES = ({"networks": 2, "stages": 3, "batch": 128}, {"networks": 4, "stages": 4, "batch": 256})
REPEATS_FACTOR = 5  # these calls are short, so they are measured more often


def measure(options: Options) -> list[dict[str, Any]]:
    from mcl.benchmarking import time_in_turns

    results = []
    for size in SIZES:
        calls = implementations(**size, classes=size["batch"] // 2)
        ours, textbook = (float(calls[name]()) for name in ("ours", "textbook"))
        assert abs(ours - textbook) < 1e-4 * abs(textbook), f"the implementations disagree: {ours} and {textbook}"
        results.append({**size, "seconds": time_in_turns(calls, REPEATS_FACTOR * options.repeats)})
    return results


def implementations(
    networks: int, stages: int, batch: int, classes: int, dim: int = 128, device: str = "cpu"
) -> "dict[str, Callable[[], Tensor]]":
    """Return a call without arguments for each implementation, on the same float32 embeddings."""
    import torch
    import torch.nn.functional as F

    from mcl.losses.contrast import MutualContrast, mutual_contrast
    from mcl.reference import formulas

    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(networks, stages, batch, dim, generator=generator).to(device)
    embeddings = F.normalize(raw, dim=-1)
    labels = torch.arange(batch, device=device) % classes
    weights = torch.rand(networks * stages, networks * stages, batch, generator=generator).to(device)
    stacked = [network.clone().requires_grad_() for network in embeddings]
    separate = [[stage.clone().requires_grad_() for stage in network] for network in embeddings]
    leaves = [stage for network in separate for stage in network]
    settings = {"tau": 0.1, "temperature": 3.0}

    def backward(terms: MutualContrast, leaves: "list[Tensor]") -> "Tensor":
        total = 0.1 * terms.vcl + terms.soft_vcl + 0.1 * terms.icl + terms.soft_icl
        torch.autograd.grad(total, leaves)
        return total.detach()

    def weight(i: int, k: int, j: int, m: int) -> "Tensor":
        return weights[i * stages + k, j * stages + m]

    return {
        "textbook": lambda: backward(formulas.mutual_contrast(separate, labels, weight, **settings), leaves),
        "ours": lambda: backward(mutual_contrast(stacked, labels, weights, **settings), stacked),
    }


def report(result: dict[str, Any], folder: Path) -> list[str]:
    rows = []
    for size in result["found"]:
        seconds = medians(size["seconds"])
        times = [f"{1e3 * seconds[name]:.2f}" for name in ("textbook", "ours")]
        ratio = f"{seconds['textbook'] / seconds['ours']:.1f}"
        rows.append([f"N = {size['networks']}, S = {size['stages']}, B = {size['batch']}", *times, ratio])
    return [
        "All four terms between N networks of S stages in a batch of B, embeddings of 128 dimensions, float32; forward"
        " and backward.",
        "",
        *table(["", "textbook, ms", "ours, ms", "times as fast"], rows, 1),
    ]
