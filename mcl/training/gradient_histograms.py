"""Histograms of gradients, by network and stage."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from mcl.tracking.tracker import Histogram
from mcl.training.learner import Learner

BINS = 64


@torch.no_grad()
def gradient_histograms(learner: Learner) -> dict[str, Histogram]:
    """Return histograms of the gradients of the last step, after clipping. Synchronizes with the device.

    Args:
        learner: after a step.

    Returns:
        ``{"first/stem": ..., "first/stage1": ..., "first/head": ..., "first/branches": ..., "loss": ...}``; parts
        without gradients, as all are right after a resume, are absent. Gradients that are not finite are not counted.
    """
    histograms = {}
    for name, parameters in _parts(learner):
        gradients = [parameter.grad.flatten().float() for parameter in parameters if parameter.grad is not None]
        values = torch.cat(gradients) if gradients else torch.empty(0)
        values = values[values.isfinite()]
        if len(values):
            histograms[name] = _histogram(values)
    return histograms


def _parts(learner: Learner) -> Iterator[tuple[str, Iterable[nn.Parameter]]]:
    cohort = learner.cohort
    for key, network in cohort.items():
        backbone = network.backbone
        yield f"{key}/stem", backbone.stem.parameters()
        for i, stage in enumerate(backbone.stages, 1):
            yield f"{key}/stage{i}", stage.parameters()
        yield f"{key}/head", backbone.head.parameters()
        yield f"{key}/branches", network.branches.parameters()
    trained = set(learner.trained_parameters())
    yield "loss", [parameter for parameter in learner.loss.parameters() if parameter in trained]


def _histogram(values: Tensor) -> Histogram:
    low, high = (float(each) for each in values.aminmax())
    if low == high:
        low, high = low - 1e-12, high + 1e-12
    if torch.are_deterministic_algorithms_enabled():
        values = values.cpu()  # CUDA has no deterministic kernel
    counts = torch.histc(values, bins=BINS, min=low, max=high)
    return Histogram([round(count) for count in counts.tolist()], torch.linspace(low, high, BINS + 1).tolist())
