"""torchvision's classifiers as backbones: published counts, branches, pretrained weights and errors."""

from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision.models import get_model

from mcl import build_network
from mcl.errors import UserError
from mcl.networks.counting import multiply_adds, parameters
from mcl.networks.torchvision import TorchvisionBackbone, normalization_of

# name: parameters, multiply-adds in millions, parameters of a pair with branches, width; 1000 classes, 224 pixels
PUBLISHED = {
    "resnet18": (11_689_512, 1814, 52_632_000, 512),
    "resnet34": (21_797_672, 3664, 72_848_320, 512),
    "resnet50": (25_557_032, 4089, 106_453_952, 2048),
    "shufflenetv2_1x": (2_278_604, 144.9, 16_796_800, 1024),
}
SMALL: dict[str, Any] = {
    "name": "small",
    "num_classes": 5,
    "model": "shufflenet_v2_x0_5",
    "stem": ["conv1", "maxpool"],
    "stages": ["stage2", "stage3", "stage4"],
    "neck": ["conv5"],
    "head": "fc",
}


def small(**options: Any) -> TorchvisionBackbone:
    return TorchvisionBackbone(**{**SMALL, **options})


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_equal_the_published_ones(name: str) -> None:
    network = build_network(f"imagenet/{name}", 1000, branches=True)
    count, millions, of_a_pair, width = PUBLISHED[name]
    assert parameters(network.backbone) == count
    assert 2 * parameters(network) == of_a_pair
    assert network.widths == [width] * 4
    assert multiply_adds(network.backbone, (3, 224, 224)) / 1e6 == pytest.approx(millions, rel=5e-4)


@pytest.mark.parametrize("name", ["mobilenetv3_small", "efficientnet_b0"])
def test_torchvision_models_with_named_stages_get_branches(name: str) -> None:
    network = build_network(f"imagenet/{name}", 5, branches=True)
    outputs = network.eval()(torch.randn(2, 3, 64, 64))
    assert [tuple(logits.shape) for logits in outputs.logits] == [(2, 5)] * 4
    assert {tuple(features.shape) for features in outputs.features} == {(2, network.backbone.width)}


def test_branch_depths_sets_the_number_of_blocks() -> None:
    branches = [small(branch_depths=[2, None]).branch(k) for k in (1, 2)]
    assert [[len(stage) for stage in branch.stages] for branch in branches] == [[2, 2], [4]]


def test_incompatible_blocks_are_refused() -> None:
    uneven = small(
        model="mobilenet_v3_small",
        stem=["features.0", "features.1", "features.2"],
        stages=["features.3", [f"features.{k}" for k in range(4, 9)], [f"features.{k}" for k in (9, 10, 11)]],
        neck=["features.12"],
        head="classifier",
        branch_depths=[1, 1],
    )
    with pytest.raises(UserError, match=r"branch_depths=\[1, 1\]: .* after stage 1 do not fit"):
        uneven.branch(1)


def test_branches_share_no_weights_with_the_backbone() -> None:
    backbone = small()
    branch = backbone.branch(1)
    assert not {id(p) for p in backbone.parameters()} & {id(p) for p in branch.parameters()}
    assert not torch.equal(branch.head.classifier.weight, backbone.head.classifier.weight)


def test_training_mode_output_equals_torchvision() -> None:
    torch.manual_seed(0)
    backbone = small()
    torch.manual_seed(0)
    original = get_model("shufflenet_v2_x0_5", num_classes=5)
    images = torch.randn(4, 3, 64, 64)
    assert torch.equal(backbone(images), original(images))
    assert torch.equal(backbone.head.neck[1].running_mean, original.conv5[1].running_mean)


def test_gray_image_equals_color_image_with_equal_channels() -> None:
    torch.manual_seed(0)
    color = small().eval()
    torch.manual_seed(0)
    gray = small(in_channels=1).eval()
    images = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(gray(images), color(images.expand(-1, 3, -1, -1)))


def test_named_weights_come_from_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    backbone = small(weights="IMAGENET1K_V1")

    def get_state_dict(self: object, **options: Any) -> dict[str, torch.Tensor]:
        names.append(str(self))
        return get_model("shufflenet_v2_x0_5").state_dict()

    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", get_state_dict)
    backbone.load_pretrained()
    assert names == ["ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"]


def test_weights_know_their_normalization() -> None:
    assert normalization_of("resnet18", "DEFAULT", 3) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert normalization_of("resnet18", "DEFAULT", 1) == ((0.449,), (0.226,))
    assert normalization_of("efficientnet_v2_l", "IMAGENET1K_V1", 3) == ((0.5,) * 3, (0.5,) * 3)
    assert small(weights="DEFAULT").pretrained_normalization() == normalization_of(SMALL["model"], "DEFAULT", 3)
    assert small().pretrained_normalization() is None


def test_offline_error_names_the_file_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(self: object, **options: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", unreachable)
    with pytest.raises(
        UserError,
        match=r"^pair\.NETWORK\.weights=DEFAULT: cannot fetch https://\S+\.pth .* pair\.NETWORK\.weights=FILE\.$",
    ):
        small(weights="DEFAULT").load_pretrained()


def test_names_of_weights_that_do_not_exist_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"^pair\.NETWORK\.weights=V2: no such file, and no weights of shuff\S+: IMAGENET1K"
    ):
        small(weights="V2").load_pretrained()


@pytest.mark.parametrize("arguments", [{}, {"in_channels": 1}])
def test_library_names_lead_to_the_same_tensors(arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    original = get_model("shufflenet_v2_x0_5", num_classes=5).state_dict()
    torch.manual_seed(0)
    backbone = small(**arguments)
    names = backbone.library_names()
    assert set(names.values()) == set(original)
    own = backbone.state_dict()
    assert set(names) == set(own)
    differing = [name for name, theirs in names.items() if not torch.equal(own[name], original[theirs])]
    assert differing == (["stem.0.weight"] if arguments else [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet19"}, r"resnet19 is not a classifier of torchvision.*'resnet18'"),
        ({"stages": ["stage2", "stage3", "stage5"]}, r"no module stage5. Did you mean 'stage4'"),
        ({"neck": None}, r"neither stem, stages, neck nor head has conv5.0.weight"),
        ({"head": "conv5", "neck": ["fc"]}, r"head=conv5 .*does not end in a linear layer"),
        ({"stem": ["conv1"], "neck": ["conv5"]}, r"do not compute what torchvision's shufflenet_v2_x0_5 does"),
        ({"branch_depths": [1]}, r"branch_depths=\[1\]: needs one number .* each of the 2 branches"),
        ({"branch_depths": [0, 1]}, r"1 or more"),
        ({"in_channels": 2}, r"in_channels=2"),
    ],
)
def test_invalid_stage_lists_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(**options)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_model_that_flattens_its_feature_maps_is_refused(device: str) -> None:
    stages = [f"features.{k}" for k in range(1, 13)]  # whose 6 x 6 pixels the classifier takes apart
    message = r"^network small: .* alexnet do not fit one another \(.*9216.*\)\. .* global average pooling"
    with torch.device(device), pytest.raises(UserError, match=message):
        small(model="alexnet", stem=["features.0"], stages=[stages], neck=None, head="classifier")
