"""Official checkpoints of branched pairs: our networks compute the same features and logits in eval mode."""

import gzip
import json
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.golden_rule import filled
from torch import Tensor

from mcl import build_network
from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.networks.official import translate
from mcl.networks.resnet import ResNet

GOLDEN = Path(__file__).parents[1] / "golden" / "networks"
SHAPES: dict[str, dict[str, list[int]]] = json.loads(gzip.decompress((GOLDEN / "keys.json.gz").read_bytes()))
PAIRS = {
    "lmcl_resnet32_cifar": ("resnet32", "resnet32"),
    "lmcl_resnet56_cifar": ("resnet56", "resnet56"),
    "lmcl_resnet110_cifar": ("resnet110", "resnet110"),
    "lmcl_wrn_16_2_cifar": ("wrn_16_2", "wrn_16_2"),
    "lmcl_wrn_40_2_cifar": ("wrn_40_2", "wrn_40_2"),
    "lmcl_wrn_28_4_cifar": ("wrn_28_4", "wrn_28_4"),
    "lmcl_ShuffleNetV2_05x_cifar": ("shufflenetv2_05x", "shufflenetv2_05x"),
    "lmcl_ShuffleNetV2_1x_cifar": ("shufflenetv2_1x", "shufflenetv2_1x"),
    "lmcl_hcgnet_A1_cifar": ("hcgnet_a1", "hcgnet_a1"),
    "lmcl_hcgnet_A2_cifar": ("hcgnet_a2", "hcgnet_a2"),
    "lmcl_res32_res110_cifar": ("resnet32", "resnet110"),
    "lmcl_shufflev2_wrn_40_2_cifar": ("shufflenetv2_1x", "wrn_40_2"),
    "lmcl_resnet18_imagenet": ("imagenet/resnet18", "imagenet/resnet18"),
    "lmcl_resnet34_imagenet": ("imagenet/resnet34", "imagenet/resnet34"),
    "lmcl_resnet50_imagenet": ("imagenet/resnet50", "imagenet/resnet50"),
    "lmcl_ShuffleNetV2_1x_imagenet": ("imagenet/shufflenetv2_1x", "imagenet/shufflenetv2_1x"),
    "lmcl_res50_shufflenetv2_1x_imagenet": ("imagenet/shufflenetv2_1x", "imagenet/resnet50"),
}

OF_FAMILIES = {  # of an architecture of which a smaller network, or another pair, is among the rest
    *("lmcl_resnet110_cifar", "lmcl_wrn_28_4_cifar", "lmcl_hcgnet_A2_cifar"),
    *("lmcl_resnet34_imagenet", "lmcl_resnet50_imagenet"),
}


def official_state(name: str) -> dict[str, Tensor]:
    return {key: filled("official-", key, shape) for key, shape in SHAPES[name].items()}


def cohort(*names: str, branched: bool = True, num_classes: int = 10) -> Cohort:
    keys = ("first", "second")[: len(names)]
    factories = {key: partial(build_network, name, num_classes) for key, name in zip(keys, names, strict=True)}
    return Cohort(factories, branched=branched, seed=0)


@pytest.mark.parametrize("name", sorted(OF_FAMILIES))
def test_official_pair_fills_every_tensor(name: str) -> None:
    with torch.device("meta"):
        pair = cohort(*PAIRS[name])
        state = {key: torch.empty(shape) for key, shape in SHAPES[name].items()}
    pair.load_state_dict(translate(state, pair))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in OF_FAMILIES else []) for name in PAIRS]
)
def test_official_pair_reproduces_its_features_and_logits(name: str) -> None:
    with torch.device("meta"):  # the checkpoint fills everything: the initial weights would take most of the time
        pair = cohort(*PAIRS[name]).double().eval()
    pair.load_state_dict(translate(official_state(name), pair), assign=True)
    pixels = 64 if name.endswith("imagenet") else 32
    images = np.random.default_rng(zlib.crc32(b"official-input")).standard_normal((4, 3, pixels, pixels))
    with torch.no_grad():
        outputs = pair(torch.from_numpy(images))
    golden = np.load(GOLDEN / f"{name}.npz")
    assert len(golden.files) == sum(2 * len(output.logits) for output in outputs)
    for i, output in enumerate(outputs):
        for k, (features, logits) in enumerate(zip(output.features, output.logits, strict=True)):
            for actual, golden_key in ((features, f"embedding.{i}.{k}"), (logits, f"logits.{i}.{k}")):
                error = np.linalg.norm(actual.numpy() - golden[golden_key]) / np.linalg.norm(golden[golden_key])
                assert error < 1e-9, golden_key


def baseline_state() -> dict[str, Tensor]:
    shapes = {
        key: shape for key, shape in SHAPES["lmcl_resnet32_cifar"].items() if key.startswith("module_list.0.back")
    }
    return {
        key.removeprefix("module_list.0.backbone."): filled("official-", key, shape) for key, shape in shapes.items()
    }


def test_baseline_checkpoint_of_data_parallel_is_read() -> None:
    single, state = cohort("resnet32", branched=False), baseline_state()
    translated = translate({f"module.{key}": tensor for key, tensor in state.items()}, single)
    single.load_state_dict(translated)
    assert translated["networks.first.backbone.head.classifier.weight"] is state["fc.weight"]


def test_baseline_checkpoint_does_not_fill_two_networks() -> None:
    with pytest.raises(UserError, match=r"lacks module_list\.1"):
        translate(baseline_state(), cohort("resnet32", "resnet32", branched=False))


def test_translation_does_not_change_checkpoint_and_cohort() -> None:
    pair, state = cohort("wrn_16_2", "wrn_16_2"), official_state("lmcl_wrn_16_2_cifar")
    weights, keys = {key: tensor.clone() for key, tensor in pair.state_dict().items()}, list(state)
    translate(state, pair)
    assert list(state) == keys
    assert all(torch.equal(tensor, weights[key]) for key, tensor in pair.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("module_list.1.backbone.fc.bias"), "lacks module_list.1.backbone.fc.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "also holds extra"),
        (lambda state: state.update({"module_list.0.backbone.fc.bias": torch.zeros(7)}), r"\(7,\), not \(10,\)"),
    ],
)
def test_error_for_mismatched_checkpoint_explains_the_mismatch(change, message: str) -> None:
    state = official_state("lmcl_wrn_16_2_cifar")
    change(state)
    with pytest.raises(UserError, match=message):
        translate(state, cohort("wrn_16_2", "wrn_16_2"))


def test_checkpoint_of_another_pair_is_refused() -> None:
    with pytest.raises(UserError, match="not an official checkpoint of resnet32 and resnet110"):
        translate(official_state("lmcl_wrn_16_2_cifar"), cohort("resnet32", "resnet110"))


def test_architecture_unknown_to_the_official_code_is_refused() -> None:
    class OtherMeaning(ResNet):
        """A class with the same keys and another meaning."""

    make = partial(OtherMeaning, name="ours", num_classes=10, depths=[1, 1, 1])
    with pytest.raises(UserError, match="ours: the official code has no such architecture"):
        translate({}, Cohort({"first": make}, branched=False, seed=0))


def test_official_branches_are_copies() -> None:
    make = partial(build_network, "resnet8", 10)
    networks = Cohort({"first": make}, branched=True, seed=0, branch_kinds={"first": "byot"})
    with pytest.raises(UserError, match=r"Give pair\.first\.branches=copy\."):
        translate({"module_list.0.x": torch.empty(1)}, networks)
