"""The contrast alone: forward and backward, to the embeddings."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import Options, alternate, medians

from mcl.reports.markdown import table

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "Contrast alone"
SIZES = ({"networks": 2, "stages": 3, "batch": 128}, {"networks": 4, "stages": 4, "batch": 256})
TURNS = 5  # such short calls are measured so many times as often


def measure(options: Options) -> list[dict[str, Any]]:
    found = []
    for size in SIZES:
        calls = forms(**size, classes=size["batch"] // 2)
        ours, textbook = (float(calls[name]()) for name in ("ours", "textbook"))
        assert abs(ours - textbook) < 1e-4 * abs(textbook), f"the two forms disagree: {ours} and {textbook}"
        found.append({**size, "seconds": alternate(calls, TURNS * options.repeats)})
    return found


def forms(networks: int, stages: int, batch: int, classes: int, dim: int = 128) -> "dict[str, Callable[[], Tensor]]":
    """Ours and the textbook on the same embeddings in float32, each called without arguments."""
    import torch
    import torch.nn.functional as F

    from mcl.losses.contrast import MutualContrast, mutual_contrast
    from mcl.reference import formulas as textbook

    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(networks, stages, batch, dim, generator=generator)
    embeddings = F.normalize(raw, dim=-1)
    labels = torch.arange(batch) % classes
    weights = torch.rand(networks * stages, networks * stages, batch, generator=generator)
    together = [network.clone().requires_grad_() for network in embeddings]
    single = [[stage.clone().requires_grad_() for stage in network] for network in embeddings]
    leaves = [stage for network in single for stage in network]
    settings = {"tau": 0.1, "temperature": 3.0}

    def total(terms: MutualContrast, leaves: "list[Tensor]") -> "Tensor":
        value = 0.1 * terms.vcl + terms.soft_vcl + 0.1 * terms.icl + terms.soft_icl
        torch.autograd.grad(value, leaves)
        return value.detach()

    def weight(i: int, k: int, j: int, m: int) -> "Tensor":
        return weights[i * stages + k, j * stages + m]

    return {
        "textbook": lambda: total(textbook.mutual_contrast(single, labels, weight, **settings), leaves),
        "ours": lambda: total(mutual_contrast(together, labels, weights, **settings), together),
    }


def report(result: dict[str, Any], folder: Path) -> list[str]:
    rows = []
    for size in result["found"]:
        middle = medians(size["seconds"])
        times = [f"{1e3 * middle[name]:.2f}" for name in ("textbook", "ours")]
        ratio = f"{middle['textbook'] / middle['ours']:.1f}"
        rows.append([f"N = {size['networks']}, S = {size['stages']}, B = {size['batch']}", *times, ratio])
    return [
        "All four terms between N networks of S stages in a batch of B, embeddings of 128 dimensions, float32; forward"
        " and backward.",
        "",
        *table(["", "textbook, ms", "ours, ms", "times as fast"], rows, 1),
    ]
