"""Weights of a file, in a network."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.models import get_model

from mcl import build_network
from mcl.errors import UserError
from mcl.networks.backbone import Backbone, Head
from mcl.networks.branches import Network
from mcl.networks.torchvision import TorchvisionBackbone
from mcl.networks.weights import load_weights, read_weights


def small(**changes: Any) -> TorchvisionBackbone:
    arguments: dict[str, Any] = {
        "name": "small",
        "num_classes": 5,
        "model": "shufflenet_v2_x0_5",
        "stem": ["conv1", "maxpool"],
        "stages": ["stage2", "stage3", "stage4"],
        "neck": ["conv5"],
        "head": "fc",
    }
    return TorchvisionBackbone(**(arguments | changes))


@pytest.mark.parametrize("form", ["plain", "wrapped", "prefixed", "safetensors"])
def test_a_file_of_torchvision_computes_the_same(form: str, tmp_path: Path) -> None:
    original = get_model("shufflenet_v2_x0_5", num_classes=5)
    state = original.state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(state, path)
    elif form == "prefixed":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    else:
        torch.save({"model": state, "epoch": 3} if form == "wrapped" else state, path)
    backbone = small()
    loaded = load_weights(backbone, read_weights(path, "weights=w"), source="weights=w")
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(backbone.eval()(images), original.eval()(images))
    assert loaded.text == f"{len(state)} of {len(state)} tensors of small from weights=w"
    assert not loaded.new_classifier


def test_a_classifier_of_other_classes_stays_new() -> None:
    original = get_model("shufflenet_v2_x0_5", num_classes=7)
    backbone = small()
    before = backbone.head.classifier.weight.clone()
    loaded = load_weights(backbone, original.state_dict(), source="w")
    assert torch.equal(backbone.head.classifier.weight, before)
    assert torch.equal(backbone.stem[0].weight, original.conv1[0].weight)
    assert loaded.new_classifier
    assert "the classifier starts new: 7 classes there, 5 here" in loaded.text


class Cosines(nn.Module):
    """A head of cosines with one weight for each class, without a linear layer."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.width, self.num_classes = width, num_classes
        self.weight = nn.Parameter(torch.randn(num_classes, width))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        features = maps.mean((2, 3))
        return features, normalize(features) @ normalize(self.weight).T


def test_a_head_without_a_linear_layer_is_its_own_classifier() -> None:
    def own(classes: int) -> Backbone:
        stages = [nn.Conv2d(4, 4, 3) for _ in range(2)]
        head = cast(Head, Cosines(4, classes))
        return Backbone(name="own", stem=nn.Identity(), stages=stages, head=head, in_channels=4, stride=1)

    network = Network(own(5), branched=True)
    assert network.classifiers() == [network.branches[0].head, network.backbone.head]
    assert load_weights(network.backbone, own(7).state_dict(), source="w").new_classifier


def test_weights_of_color_images_suit_gray_ones() -> None:
    original = get_model("shufflenet_v2_x0_5", num_classes=5)
    gray = small(in_channels=1)
    load_weights(gray, original.state_dict(), source="w")
    images = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(gray.eval()(images), original.eval()(images.expand(-1, 3, -1, -1)))


def test_own_networks_load_by_their_own_names() -> None:
    one, other = build_network("resnet8", 4), build_network("resnet8", 4)
    loaded = load_weights(other, one.state_dict(), source="w")
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert "of resnet8 from w" in loaded.text


def test_only_what_fits_is_loaded_unless_strict() -> None:
    backbone = build_network("resnet8", 4)
    before = backbone.state_dict()["stages.2.0.conv1.weight"].clone()
    state = {f"{name}": tensor + 1 for name, tensor in backbone.state_dict().items() if not name.startswith("stages.2")}
    state["projector.weight"] = torch.zeros(3)
    message = r"^w does not hold exactly .* lacks stages\.2 \(\d+ tensors\); it also has projector \(1 tensor\)\."
    with pytest.raises(UserError, match=message + r".*weights_strict=false"):
        load_weights(backbone, state, source="w")
    loaded = load_weights(backbone, state, source="w", strict=False)
    assert torch.equal(backbone.state_dict()["stages.2.0.conv1.weight"], before)
    assert torch.equal(backbone.state_dict()["stem.0.weight"], state["stem.0.weight"])
    assert "new, because they are not there: stages.2 (" in loaded.text
    assert "not used: projector (1 tensor)" in loaded.text
    assert not loaded.new_classifier
    del state["head.classifier.weight"], state["head.classifier.bias"]
    assert load_weights(backbone, state, source="w", strict=False).new_classifier


def test_counters_of_batches_may_be_absent() -> None:
    backbone = build_network("resnet8", 4)
    state = {name: tensor for name, tensor in backbone.state_dict().items() if "num_batches" not in name}
    load_weights(backbone, state, source="w")


@pytest.mark.parametrize("strict", [True, False])
def test_weights_of_another_network_are_refused(strict: bool) -> None:
    backbone = build_network("resnet8", 4)
    before = backbone.state_dict()["stem.0.weight"].clone()
    with pytest.raises(UserError, match=r"w does not hold the weights of resnet8: \S+ is \d+ x .* there, \d+ x .* her"):
        load_weights(backbone, build_network("wrn_16_2", 4).state_dict(), source="w", strict=strict)
    with pytest.raises(UserError, match=r"it has no stem\.0\.weight, but a, b, \.\.\."):
        load_weights(backbone, {"a": torch.zeros(1), "b": torch.zeros(1)}, source="w", strict=strict)
    assert torch.equal(backbone.state_dict()["stem.0.weight"], before)


class Renamed(Backbone):
    """A network of another library, with that library's names."""

    def __init__(self) -> None:
        stage = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
        super().__init__(
            name="renamed", stem=nn.Conv2d(3, 4, 1), stages=[stage], head=Head(4, 2), in_channels=3, stride=1
        )

    def library_names(self) -> dict[str, str]:
        return {
            name: name.replace("stem", "patch_embed").replace("head.classifier", "fc") for name in self.state_dict()
        }


def test_names_of_any_library_are_known_through_library_names() -> None:
    one, other = Renamed(), Renamed()
    names = one.library_names()
    load_weights(other, {names[own]: tensor for own, tensor in one.state_dict().items()}, source="w")
    assert torch.equal(one.stem.weight, other.stem.weight)
    assert torch.equal(one.head.classifier.bias, other.head.classifier.bias)


def test_files_of_other_things_are_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(nn.Linear(1, 1), tmp_path / "code.pth")
    (tmp_path / "torn.pth").write_bytes(b"PK")
    (tmp_path / "torn.safetensors").write_bytes(b"PK")
    for name, message in {
        "list.pth": "w does not hold a state dict",
        "code.pth": "w is not a file of tensors only",
        "torn.pth": "w is not a file of tensors only",
        "torn.safetensors": "w is not a file of tensors only",
    }.items():
        with pytest.raises(UserError, match=message):
            read_weights(tmp_path / name, "w")
