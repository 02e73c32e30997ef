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
    on_batch: Sequence[Callable[[Mapping[str, Tensor], Tensor], None]] = (),
) -> dict[str, float]:
    """Return top-1 and top-5 in percent and the cross-entropy of every head over a split.

    Args:
        cohort: the networks.
        loss: its aggregators are evaluated too.
        batches: the split, or this process's shard of it; at least one batch.
        device: device of the batches.
        precision: precision of the forward pass.
        on_batch: functions called with the logits (B, classes) by head, and the labels (B,), of every batch.

    Returns:
        ``{"first/backbone/top1": 97.2, "first/stage1/loss": 0.1, "ensemble/top5": 99.9, ...}``. With fewer than five
        classes, top-5 is the top of all classes.
    """
    names: list[str] = []
    totals: Tensor | int = 0
    count = 0
    for heads, labels in predictions(cohort, loss, batches, device=device, precision=precision):
        names = list(heads)
        for function in on_batch:
            function(heads, labels)
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
    """Predict every batch with every head, in evaluation mode.

    Yields:
        Logits (B, classes) by head: ``first/stage1``, ``first/backbone``, ``first/aggregated`` if the loss has
        aggregators, and ``ensemble``, the log of the backbones' mean probabilities, or the log-probabilities of an
        ensemble that the loss trains; and the labels (B,).
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
                heads = _heads(cohort.keys, outputs, loss.aggregate(outputs), loss.ensemble(outputs))
            yield heads, batch.labels
    finally:
        for module, mode in modes:
            module.train(mode)


def head_names(stages: int) -> list[str]:
    """Return the names of a network's heads, stage by stage: ``["stage1", "stage2", "backbone"]``."""
    return [f"stage{stage}" for stage in range(1, stages)] + [BACKBONE]


def to_float32(outputs: Sequence[Outputs]) -> list[Outputs]:
    """Cast features and logits to float32 for losses and scores; float64 stays."""
    return [Outputs(*([full_precision(tensor) for tensor in part] for part in network)) for network in outputs]


def _heads(
    keys: Sequence[str], outputs: Sequence[Outputs], aggregated: list[Tensor] | None, ensemble: Tensor | None
) -> dict[str, Tensor]:
    heads: dict[str, Tensor] = {}
    for i, (key, network) in enumerate(zip(keys, outputs, strict=True)):
        for name, logits in zip(head_names(len(network.logits)), network.logits, strict=True):
            heads[f"{key}/{name}"] = logits
        if aggregated is not None:
            heads[f"{key}/{AGGREGATED}"] = aggregated[i]
    if ensemble is not None:
        heads[ENSEMBLE] = ensemble.log_softmax(-1)
        return heads
    probabilities = torch.stack([network.logits[-1].softmax(-1) for network in outputs]).mean(0)
    heads[ENSEMBLE] = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
    return heads


def _scores(logits: Tensor, labels: Tensor) -> Tensor:
    """Return sums over a batch (3,): top-1 hits, top-5 hits, cross-entropy; in float64 unless on MPS."""
    top5 = logits.topk(min(5, logits.shape[-1]), dim=-1).indices
    hits = top5 == labels[:, None]
    nll = F.cross_entropy(logits, labels, reduction="sum")
    scores = torch.stack([hits[:, 0].sum().to(nll), hits.sum().to(nll), nll])
    return scores.double() if scores.device.type != "mps" else scores
