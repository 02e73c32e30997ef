"""Every architecture for CIFAR-size images: its cost, its inputs and its initial weights."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mcl import build_network
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.counting import multiply_adds, parameters
from mcl.networks.hcgnet import HCGNet
from mcl.networks.resnet import ResNet
from mcl.networks.shufflenetv2 import ShuffleNetV2

SMALL = ["resnet8", "wrn_10_1", "shufflenetv2_05x", "hcgnet_a1"]  # one of each family

# At 100 classes and 32 pixels: parameters, millions of multiply-adds, parameters of a branched pair, feature width.
COSTS = {
    "resnet8": (83_892, 12.51, 453_752, 64),
    "resnet20": (278_324, 40.82, 1_508_728, 64),
    "resnet32": (472_756, 69.13, 2_563_704, 64),
    "resnet56": (861_620, 125.75, 4_673_656, 64),
    "resnet110": (1_170_868, 167.45, 6_363_896, 256),
    "wrn_16_2": (703_284, 101.12, 3_822_968, 128),
    "wrn_40_2": (2_255_156, 327.61, 12_245_368, 128),
    "wrn_28_4": (5_872_180, 845.62, 31_922_424, 256),
    "shufflenetv2_05x": (444_292, 10.99, 2_544_120, 1024),
    "shufflenetv2_1x": (1_356_104, 45.09, 7_524_712, 1024),
    "hcgnet_a1": (1_102_651, 154.27, 5_162_160, 414),
    "hcgnet_a2": (3_133_679, 488.67, 14_496_450, 716),
}


@pytest.mark.parametrize("name", COSTS)
def test_costs_equal_the_published_ones(name: str) -> None:
    network = build_network(name, 100, branches=True)
    backbone = network.backbone
    cost = parameters(backbone), round(multiply_adds(backbone, (3, 32, 32)) / 1e6, 2), 2 * parameters(network)
    assert (*cost, backbone.width) == COSTS[name]


@pytest.mark.parametrize(
    ("name", "weighted_layers"),
    [
        ("resnet14", 14),
        ("resnet44", 44),
        ("resnet110", 110),
        ("resnet110_basic", 110),
        ("wrn_10_1", 8),  # Wide ResNets count their three shortcuts, and not the classifier
        ("wrn_16_1", 14),
    ],
)
def test_name_counts_the_layers_on_the_main_path(name: str, weighted_layers: int) -> None:
    layers = [
        layer
        for path, layer in build_network(name, 10).named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "downsample" not in path and "shortcut" not in path
    ]
    assert len(layers) == weighted_layers


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 16), (1, 28), (3, 64)])
def test_images_of_one_or_three_channels_and_any_size_are_classified(name: str, channels: int, size: int) -> None:
    backbone = build_network(name, 5, in_channels=channels)
    backbone.check_input(channels, size)
    images = torch.randn(2, channels, size, size)
    maps = backbone.feature_maps(images)
    assert len(maps) == 3
    assert maps[-1].shape[-1] == math.ceil(size / backbone.stride)
    assert backbone(images).shape == (2, 5)


def test_error_for_wrong_images_names_the_allowed_ones() -> None:
    backbone = build_network("shufflenetv2_05x", 5)
    with pytest.raises(
        UserError, match=r"shufflenetv2_05x was built for images of 3 channels and was given 1.*dataset="
    ):
        backbone.check_input(1, 32)
    with pytest.raises(UserError, match=r"shufflenetv2_05x has a total stride of 8 .*, not 7\..*dataset="):
        backbone.check_input(3, 7)
    backbone.check_input(3, 8)


@pytest.mark.parametrize("name", SMALL)
def test_gradient_reaches_every_parameter_of_every_stage(name: str) -> None:
    network = build_network(name, 5, branches=True)
    outputs = network(torch.randn(4, 3, 16, 16))
    sum(logits.square().sum() for logits in outputs.logits).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.ndim == 1 or parameter.grad.abs().max() > 0, key  # biases before a BN or a softmax have none


def _drawn(network: nn.Module, fan: int, kind: type[nn.Conv2d] | type[nn.Linear]) -> Tensor:
    """Return all weights of one kind of layer, each times the square root of its fan (0: in, 1: out)."""
    layers = [layer.weight.detach() for layer in network.modules() if isinstance(layer, kind)]
    fans = [nn.init._calculate_fan_in_and_fan_out(weight)[fan] for weight in layers]
    return torch.cat([(weight * math.sqrt(n)).flatten() for weight, n in zip(layers, fans, strict=True)])


@pytest.mark.parametrize("name", ["resnet32", "wrn_16_2"])
def test_residual_networks_start_from_kaiming_normal_convolutions(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 100, branches=True)
    for part in (network.backbone, *network.branches):
        weights = _drawn(part, 1, nn.Conv2d)
        assert weights.std().item() == pytest.approx(math.sqrt(2), rel=0.01)
        assert weights.abs().max() > 2 * math.sqrt(6)  # normal: a uniform draw of this deviation ends at sqrt(6)


@pytest.mark.parametrize("name", ["shufflenetv2_05x", "hcgnet_a1"])
def test_other_networks_start_from_the_defaults_of_pytorch(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 100, branches=True)
    for part in (network.backbone, *network.branches):
        weights = torch.cat([_drawn(part, 0, nn.Conv2d), _drawn(part, 0, nn.Linear)])
        assert weights.std().item() == pytest.approx(1 / math.sqrt(3), rel=0.01)
        assert weights.abs().max() <= 1.0001  # uniform between -1 and 1 over the root of the fan-in


@pytest.mark.parametrize(
    ("name", "backbone_zero", "branch_zero"),
    [
        ("resnet8", False, True),
        ("wrn_10_1", True, True),
        ("shufflenetv2_05x", False, False),
        ("hcgnet_a1", False, False),
    ],
)
def test_classifier_biases_start_at_zero_as_in_the_official_code(
    name: str, backbone_zero: bool, branch_zero: bool
) -> None:
    network = build_network(name, 10, branches=True)
    assert (not network.backbone.head.classifier.bias.any()) == backbone_zero
    for branch in network.branches:
        assert (not branch.head.classifier.bias.any()) == branch_zero


@pytest.mark.parametrize("name", SMALL)
def test_batch_norms_start_at_one_and_zero(name: str) -> None:
    norms = [layer for layer in build_network(name, 10, branches=True).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert not norm.bias.any()


@pytest.mark.parametrize("name", SMALL)
def test_backbone_computes_the_same_in_channels_last(name: str) -> None:
    backbone = build_network(name, 5).double().eval()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    plain = backbone(images)
    moved = backbone.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(moved, plain)


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1"])
def test_backbone_can_be_exported(name: str) -> None:
    backbone, images = build_network(name, 5).eval(), torch.randn(2, 3, 16, 16)
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(backbone, (images,), dynamic_shapes={"images": {0: batch}}).module()
    more = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(exported(more), backbone(more))


@pytest.mark.parametrize("depths", [[], [1, 0, 1]])
def test_stage_without_blocks_is_refused(depths: list[int]) -> None:
    with pytest.raises(UserError, match="one number of blocks for each stage"):
        ResNet(name="mine", num_classes=5, depths=depths)


def test_unknown_block_is_refused() -> None:
    with pytest.raises(UserError, match="mine: block=basci: expected one of basic, bottleneck"):
        ResNet(name="mine", num_classes=5, depths=[1], block="basci")  # type: ignore[arg-type]


def test_initialization_under_its_earlier_name_is_not_lost() -> None:
    class Mine(ResNet):
        def initialise(self, module: nn.Module) -> None: ...

    with pytest.raises(UserError, match=r"Mine\.initialise: this method is called initialize"):
        Mine(name="mine", num_classes=5, depths=[1])


def test_widths_that_blocks_cannot_have_are_refused() -> None:
    with pytest.raises(UserError, match=r"widths=\[48, 97\]: needs one even number"):
        ShuffleNetV2(name="mine", num_classes=5, depths=[1, 1], widths=[48, 97])
    with pytest.raises(UserError, match=r"growths=\[12\]: needs one multiple of 4"):
        HCGNet(name="mine", num_classes=5, depths=[1, 1], growths=[12])


def test_counting_does_not_change_the_network() -> None:
    backbone: Backbone = build_network("resnet8", 5)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    multiply_adds(backbone, (3, 32, 32))
    assert backbone.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


def test_multiply_adds_of_known_layers() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(54, 5)
    )
    assert multiply_adds(network, (4, 7, 7)) == 6 * 3 * 3 * (2 * 3 * 3) + 54 * 5
    assert parameters(network) == 6 * 2 * 9 + 54 * 5 + 5


class Attention(nn.Module):
    """Projections of which no layer is called, as in torchvision's networks."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.hidden = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return functional.linear(mixed, self.hidden.weight, self.hidden.bias)


def test_multiply_adds_of_projections_without_layers() -> None:
    assert multiply_adds(Attention(), (5, 8)) == 5 * (4 * 8 * 8 + 8 * 3)


@pytest.mark.parametrize("stride", [1, 2, 8, 16])
def test_a_stride_that_the_stages_contradict_is_refused(stride: int) -> None:
    network = build_network("resnet8", 10)
    network.check_stride("pair.first")
    network.stride = stride
    with pytest.raises(UserError, match=rf"pair\.first: resnet8 says stride={stride}, .* a stride of about 4\."):
        network.check_stride("pair.first")
