"""Scores of every head, against plain arithmetic."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.losses.independent import Independent
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.networks.cohort import Cohort
from mcl.networks.resnet import ResNet
from mcl.training.evaluation import evaluate
from mcl.types import Batch


def cohort(branched: bool, classes: int = 7) -> Cohort:
    make = partial(ResNet, name="resnet8", num_classes=classes, depths=[1, 1, 1], in_channels=1)
    return Cohort({"first": make, "second": make}, branched=branched, seed=3)


def batches(classes: int = 7) -> list[Batch]:
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(20, 1, 8, 8, generator=rng)
    labels = torch.randint(classes, (20,), generator=rng)
    return [Batch(images[part], labels[part], torch.arange(20)[part]) for part in (slice(0, 12), slice(12, 20))]


def expected(logits: Tensor, labels: Tensor) -> tuple[float, float, float]:
    order = logits.argsort(dim=1, descending=True)
    top1 = (order[:, 0] == labels).double().mean()
    top5 = (order[:, :5] == labels[:, None]).any(1).double().mean()
    return 100 * float(top1), 100 * float(top5), float(F.cross_entropy(logits, labels))


@torch.no_grad()
def test_every_head_and_the_ensemble_are_scored_over_uneven_batches() -> None:
    networks = cohort(branched=True)
    loss = LMCL(widths=networks.widths, matching=LayerMatching, meta=None)
    metrics = evaluate(networks, loss, batches(), device=torch.device("cpu"), precision="float32")

    images = torch.cat([batch.images for batch in batches()])
    labels = torch.cat([batch.labels for batch in batches()])
    outputs = networks.eval()(images)
    heads = {"ensemble": torch.stack([o.logits[-1].softmax(1) for o in outputs]).mean(0).log()}
    for key, network, aggregated in zip(networks.keys, outputs, loss.aggregate(outputs), strict=True):
        heads |= {f"{key}/stage1": network.logits[0], f"{key}/stage2": network.logits[1]}
        heads |= {f"{key}/backbone": network.logits[2], f"{key}/aggregated": aggregated}
    assert len(metrics) == 3 * len(heads)
    for name, logits in heads.items():
        scores = [metrics[f"{name}/{what}"] for what in ("top1", "top5", "loss")]
        assert scores == pytest.approx(expected(logits, labels), rel=1e-5), name


def test_training_mode_and_statistics_are_unchanged() -> None:
    networks = cohort(branched=False)
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    evaluate(networks, Independent(widths=networks.widths), batches(), device=torch.device("cpu"), precision="float32")
    assert networks.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in networks.state_dict().items())


def test_top5_of_three_classes_is_top3() -> None:
    networks = cohort(branched=False, classes=3)
    loss = Independent(widths=networks.widths)
    metrics = evaluate(networks, loss, batches(classes=3), device=torch.device("cpu"), precision="float32")
    assert metrics["first/backbone/top5"] == 100


def test_bfloat16_scores_are_near_float32_ones() -> None:
    networks = cohort(branched=False)
    loss = Independent(widths=networks.widths)
    both = [
        evaluate(networks, loss, batches(), device=torch.device("cpu"), precision=precision)
        for precision in ("float32", "bfloat16")
    ]
    assert both[1]["first/backbone/loss"] == pytest.approx(both[0]["first/backbone/loss"], rel=0.05)
    assert both[1]["first/backbone/loss"] != both[0]["first/backbone/loss"]
