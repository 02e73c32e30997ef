"""Four steps of the published training with two meta rounds, against the official modules run in float64."""

import gzip
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.golden_rule import filled, images
from torch import Tensor

from mcl.data.samplers import Shuffle
from mcl.data.synthetic import Synthetic
from mcl.losses.base import MetaSchedule
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.networks.cohort import Cohort
from mcl.networks.official import translate
from mcl.networks.resnet import ResNet
from mcl.training.build_trainer import build_trainer
from mcl.training.learner import Learner
from mcl.training.options import TrainerOptions
from mcl.training.results import Results
from mcl.training.schedules import Constant
from mcl.types import Batch

GOLDEN = Path(__file__).parents[1] / "golden"
PARTS = {  # names of the loss's parts in the golden arrays
    "heads": ("heads.embed_list.", ".layers.", ".proj_head."),
    "aggregators": ("aggregator.proj_head_", ".layers.", "."),
    "matching": ("matching.proj.", "", ""),
}


def golden_name(key: str) -> str:
    """Return the name of a loss parameter in the golden arrays."""
    part, _, rest = key.partition(".")
    prefix, name, official_name = PARTS[part]
    return prefix + rest.removeprefix("projections.").replace(name, official_name, 1)


def learner_of_the_golden_weights() -> tuple[Learner, dict[str, str]]:
    """Return two branched ResNet-8 with L-MCL in float64, and the golden name of every one of its tensors."""
    factory = partial(ResNet, name="resnet8", num_classes=10, depths=[1, 1, 1], block="basic")
    cohort = Cohort({"first": factory, "second": factory}, branched=True, seed=0)
    loss = LMCL(widths=cohort.widths, matching=LayerMatching, meta=MetaSchedule(interval=2))
    learner = Learner(cohort, loss).double()

    shapes = json.loads(gzip.decompress((GOLDEN / "networks" / "keys.json.gz").read_bytes()))["lmcl_resnet32_cifar"]
    later = tuple(f".{block}." for block in range(1, 5))
    short = {
        key: shape
        for key, shape in shapes.items()
        if not (any(f"layer{n}{block}" in key for n in (1, 2, 3) for block in later) or _later_block(key))
    }
    official = {key: filled("trajectory-net.", key, shape) for key, shape in short.items()}
    names = {id(tensor): f"net.{key}" for key, tensor in official.items()}
    translated = translate(official, cohort)
    cohort.load_state_dict(translated)
    golden = {f"cohort.{key}": names[id(tensor)] for key, tensor in translated.items()}
    for key, parameter in loss.named_parameters():
        golden[f"loss.{key}"] = golden_name(key)
        with torch.no_grad():
            parameter.copy_(filled("trajectory-", golden_name(key), parameter.shape))
    return learner, golden


def _later_block(key: str) -> bool:
    """Return whether a branch's key belongs to a block after the first: ...block_extractor1.<stage>.<block>.conv1..."""
    parts = key.split(".")
    return "auxiliary_classifier" in parts and parts[3].startswith("block") and parts[5] != "0"


def close(actual: Tensor, golden: np.ndarray) -> None:
    """Assert that sum and norm agree, relative to the norm."""
    actual = actual.detach()
    norm = float(golden[1])
    assert float(actual.norm()) == pytest.approx(norm, rel=1e-8)
    assert float(actual.sum()) == pytest.approx(float(golden[0]), abs=1e-8 * max(norm, 1e-3))


@pytest.mark.parametrize("memory", ["keep", pytest.param("recompute", marks=pytest.mark.slow)])
def test_settings_equal_the_official_ones(memory: str) -> None:
    golden = np.load(GOLDEN / "trajectory_resnet8.npz")
    learner, names = learner_of_the_golden_weights()
    assert learner.loss.meta is not None
    object.__setattr__(learner.loss.meta, "memory", memory)
    dataset = Synthetic(image_size=16, train_per_class=4, test_per_class=1)
    trainer = build_trainer(
        TrainerOptions(epochs=1, batch_size=16, device="cpu"),
        learner,
        dataset.load(),
        dataset,
        Shuffle(),
        make_optimizer=partial(torch.optim.SGD, lr=float(golden["lr"]), momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=Constant(),
        results=Results([], chosen_on="test"),
        seed=0,
        data="",
    )
    learner.train()
    for t in range(4):
        labels = torch.from_numpy(golden[f"labels.{t}"])
        batch = Batch(images(f"trajectory-images.{t}", (16, 3, 16, 16)), labels, torch.arange(16))
        values = trainer.train_on_batch(batch)
        trainer.progress.step += 1
        for term in ("classification", "distillation", "vcl", "soft_vcl", "icl", "soft_icl"):
            assert values[f"train/{term}"].item() == pytest.approx(float(golden[f"{term}.{t}"]), rel=1e-8), (term, t)
        assert values["train/total"].item() == pytest.approx(float(golden[f"total.{t}"]), rel=1e-8)
        if t == 0:
            compared = 0
            for key, parameter in learner.named_parameters():
                if parameter.grad is not None and f"gradient.{names[key]}" in golden:
                    close(parameter.grad, golden[f"gradient.{names[key]}"])
                    compared += 1
            assert compared == sum(name.startswith("gradient.") for name in golden.files)
        if t % 2 == 0:
            assert float(trainer.state.outer_loss) == pytest.approx(float(golden[f"outer_loss.{t}"]), rel=1e-8)
            for key, parameter in learner.loss.meta_parameters().items():
                name = names[f"loss.{key}"].removeprefix("matching.")
                close(parameter.grad, golden[f"matching_gradient.{t}.{name}"])
    final = {key: tensor for key, tensor in learner.state_dict().items() if tensor.is_floating_point()}
    assert len(final) == sum(name.startswith("final.") for name in golden.files)
    for key, tensor in final.items():
        close(tensor, golden[f"final.{names[key]}"])
