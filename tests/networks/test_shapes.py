"""The sizes of networks, and the feature maps that a loss can ask for."""

import pytest
import torch

from mcl import build_network
from mcl.config.loss_arguments import loss_arguments
from mcl.losses.base import Loss
from mcl.networks.branches import Network
from mcl.types import NetworkShape


@pytest.mark.parametrize(
    ("name", "channels", "width"),
    [
        ("resnet8", [16, 32, 64], 64),
        ("resnet110", [64, 128, 256], 256),
        ("wrn_16_2", [32, 64, 128], 128),
        ("shufflenetv2_05x", [48, 96, 192], 1024),
        ("hcgnet_a1", [60, 126, 414], 414),
        ("imagenet/resnet18", [64, 128, 256, 512], 512),
    ],
)
def test_a_shape_names_the_channels_of_every_stage(name: str, channels: list[int], width: int) -> None:
    network = Network(build_network(name, 7), branched=False)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert network.shape() == NetworkShape([width], channels, 7, frozen=False)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_2"])
@pytest.mark.parametrize("branched", [True, False])
def test_maps_are_what_the_stages_return(name: str, branched: bool) -> None:
    backbone = build_network(name, 7).eval()
    images = torch.randn(2, 3, 16, 16)
    outputs = Network(backbone, branched=branched, maps=True).eval()(images)
    expected = backbone.feature_maps(images)
    assert all(torch.equal(given, wanted) for given, wanted in zip(outputs.maps, expected, strict=True))
    assert len(outputs.logits) == (3 if branched else 1)
    assert torch.equal(backbone.head(outputs.maps[-1])[1], outputs.logits[-1])


def test_maps_are_left_out_unless_asked_for() -> None:
    assert Network(build_network("resnet8", 7), branched=True)(torch.randn(2, 3, 16, 16)).maps == ()


class _Widths(Loss):
    def __init__(self, *, widths: list[list[int]]):
        super().__init__()


class _Shapes(Loss):
    def __init__(self, *, shapes: list[NetworkShape]):
        super().__init__()


class _Both(Loss):
    def __init__(self, *, widths: list[list[int]], shapes: list[NetworkShape]):
        super().__init__()


class _Any(Loss):
    def __init__(self, **options: object):
        super().__init__()


@pytest.mark.parametrize(
    ("loss", "names"),
    [(_Widths, {"widths"}), (_Shapes, {"shapes"}), (_Both, {"widths", "shapes"}), (_Any, {"widths"})],
)
def test_a_loss_gets_the_sizes_that_its_constructor_takes(loss: type[Loss], names: set[str]) -> None:
    shapes = [NetworkShape([4, 4], [2, 4], 3), NetworkShape([8], [8], 3)]
    widths = [[4, 4], [8]]
    sizes = {"widths": widths, "shapes": shapes}
    assert loss_arguments(loss, widths, lambda: shapes) == {name: sizes[name] for name in names}
