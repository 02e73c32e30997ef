"""Drop path: residual blocks that are skipped at random in training."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.resnet import ResNet
from mcl.networks.wide_resnet import WideResNet


def basic(**options: float) -> ResNet:
    return ResNet(name="r", num_classes=3, depths=[2, 2], **options)


def bottleneck(**options: float) -> ResNet:
    return ResNet(name="b", num_classes=3, depths=[2, 2], block="bottleneck", **options)


def wide(**options: float) -> WideResNet:
    return WideResNet(name="w", num_classes=3, depths=[2, 2], widen_factor=1, **options)


MAKE = pytest.mark.parametrize("make", [basic, bottleneck, wide])


def rates(network: nn.Module) -> list[float]:
    return [round(module.p, 6) for module in network.modules() if isinstance(module, StochasticDepth)]


@MAKE
def test_evaluation_and_weights_are_those_of_the_network_without(make: Callable[..., Backbone]) -> None:
    torch.manual_seed(0)
    plain = make()
    torch.manual_seed(0)
    dropped = make(drop_path=0.3)
    assert list(plain.state_dict()) == list(dropped.state_dict())
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(plain.eval()(images), dropped.eval()(images))
    assert rates(plain) == []
    assert rates(dropped) == [0.1, 0.2, 0.3]  # and 0 in the first block
    assert rates(dropped.branch(1)) == [0.2, 0.3]  # a branch is dropped as its stage is


@MAKE
def test_a_skipped_block_passes_its_input_on(make: Callable[..., Backbone]) -> None:
    network = make(drop_path=0.5).train()
    block = network.stages[0][1]
    assert isinstance(block.drop_path, StochasticDepth)
    block.drop_path.p = 1.0
    maps = torch.rand(2, *network.stages[0](torch.rand(2, 16, 4, 4)).shape[1:])
    assert torch.equal(block(maps), maps)


@pytest.mark.parametrize("make", [basic, wide])
def test_a_rate_that_is_no_probability_is_refused(make: Callable[..., Backbone]) -> None:
    with pytest.raises(UserError, match=r"drop_path=1\.0: must be a probability"):
        make(drop_path=1.0)
