"""Evaluate every head, every backbone, the aggregated logits and the ensemble."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl import distributed
from mcl.devices import autocast
from mcl.losses.base import Loss
from mcl.losses.numerics import full_precision
from mcl.networks.cohort import Cohort
from mcl.types import Batch, Outputs

BACKBONE, AGGREGATED, ENSEMBLE = "backbone", "aggregated", "ensemble"


def evaluate(
    cohort: Cohort,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: str,
    on_batch: Callable[[Mapping[str, Tensor], Tensor], None] | None = None,
) -> dict[str, float]:
    """Top-1 and top-5 in percent and cross-entropy of every head over a whole split.

    Args:
        cohort, loss: the networks, and the loss for its aggregators.
        batches: the split; over several processes, this one's share of it, of one batch at least.
        device: of the batches.
        precision: of the forward pass.
        on_batch: told the logits (B, classes) of each head, and the labels (B,), of every batch.

    Returns:
        ``{"first/backbone/top1": 97.2, "first/stage1/loss": 0.1, "ensemble/top5": 99.9, ...}``. Top-5 counts the best
        ``min(5, classes)``.
    """
    names: list[str] = []
    totals: Tensor | int = 0
    count = 0
    for heads, labels in predictions(cohort, loss, batches, device=device, precision=precision):
        names = list(heads)
        if on_batch is not None:
            on_batch(heads, labels)
        totals = totals + torch.stack([_scores(logits, labels) for logits in heads.values()])
        count += len(labels)
    assert isinstance(totals, Tensor), "nothing to evaluate"
    count = int(distributed.all_reduce_sum(torch.tensor(count)))
    top1, top5, nll = distributed.all_reduce_sum(totals).cpu().T.tolist()
    result: dict[str, float] = {}
    for i, name in enumerate(names):
        result[f"{name}/top1"] = 100 * top1[i] / count
        result[f"{name}/top5"] = 100 * top5[i] / count
        result[f"{name}/loss"] = nll[i] / count
    return result


def predictions(
    cohort: Cohort, loss: Loss, batches: Iterable[Batch], *, device: torch.device, precision: str
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """What every head says of each batch, in evaluation mode.

    Yields:
        Logits (B, classes) by head, such as ``first/stage1``, ``first/backbone``, ``first/aggregated`` where the loss
        has aggregators, and ``ensemble``, the mean of the backbones' probabilities; and the labels (B,).
    """
    modes = [(module, module.training) for module in (cohort, loss)]
    try:
        cohort.eval()
        loss.eval()
        for batch in batches:
            with torch.no_grad():
                with autocast(device, precision):
                    outputs = cohort(batch.images)
                outputs = to_float32(outputs)
                heads = _heads(cohort.keys, outputs, loss.aggregate(outputs))
            yield heads, batch.labels
    finally:
        for module, mode in modes:
            module.train(mode)


def head_names(stages: int) -> list[str]:
    """What the heads of a network's stages are called: ``["stage1", "stage2", "backbone"]``."""
    return [*(f"stage{stage}" for stage in range(1, stages)), BACKBONE]


def to_float32(outputs: Sequence[Outputs]) -> list[Outputs]:
    """Features and logits in float32, or float64 where they are: losses and scores are not taken in less."""
    return [Outputs(*([full_precision(tensor) for tensor in part] for part in network)) for network in outputs]


def _heads(keys: Sequence[str], outputs: Sequence[Outputs], aggregated: list[Tensor] | None) -> dict[str, Tensor]:
    heads: dict[str, Tensor] = {}
    for i, (key, network) in enumerate(zip(keys, outputs, strict=True)):
        for name, logits in zip(head_names(len(network.logits)), network.logits, strict=True):
            heads[f"{key}/{name}"] = logits
        if aggregated is not None:
            heads[f"{key}/{AGGREGATED}"] = aggregated[i]
    probabilities = torch.stack([network.logits[-1].softmax(-1) for network in outputs]).mean(0)
    heads[ENSEMBLE] = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
    return heads


def _scores(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over a batch: right at first, right among five, cross-entropy. (3,), float64 where the device has it."""
    best = logits.topk(min(5, logits.shape[-1]), dim=-1).indices
    right = best == labels[:, None]
    nll = F.cross_entropy(logits, labels, reduction="sum")
    scores = torch.stack([right[:, 0].sum().to(nll), right.sum().to(nll), nll])
    return scores.double() if scores.device.type != "mps" else scores
