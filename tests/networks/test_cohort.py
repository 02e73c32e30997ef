"""Branches and cohorts: copies, seeds and outputs."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mcl import build_network
from mcl.errors import UserError
from mcl.networks.backbone import Backbone, Head
from mcl.networks.branches import Network
from mcl.networks.cohort import Cohort

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def cohort(*names: str, branched: bool = True, seed: int = 0) -> Cohort:
    keys = ("first", "second", "third")[: len(names)]
    factories: dict[str, Callable[[], Backbone]] = {
        key: partial(build_network, name, 5) for key, name in zip(keys, names, strict=True)
    }
    return Cohort(factories, branched=branched, seed=seed)


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_each_network_gives_features_and_logits_of_every_stage() -> None:
    pair = cohort("resnet8", "wrn_16_2")
    first, second = pair(IMAGES)
    assert [tuple(f.shape) for f in first.features] == [(4, 64)] * 3
    assert [tuple(f.shape) for f in second.features] == [(4, 128)] * 3
    assert [tuple(logits.shape) for logits in first.logits + second.logits] == [(4, 5)] * 6
    assert pair.widths == [[64] * 3, [128] * 3]
    assert pair.keys == ["first", "second"]
    assert pair.names == ["resnet8", "wrn_16_2"]


def test_unbranched_networks_give_one_stage() -> None:
    pair = cohort("resnet8", "resnet8", branched=False)
    outputs = pair(IMAGES)
    assert [len(output.features) for output in outputs] == [len(output.logits) for output in outputs] == [1, 1]
    assert pair.widths == [[64], [64]]


@pytest.mark.parametrize("count", [1, 3])
def test_cohort_holds_any_number_of_networks(count: int) -> None:
    assert len(cohort(*["resnet8"] * count)(IMAGES)) == count


def test_cohort_of_no_network_is_refused() -> None:
    with pytest.raises(UserError, match="holds no network"):
        Cohort({}, branched=False, seed=0)


@pytest.mark.parametrize("key", ["half", "type", "train", "keys", "training", "a.b", ""])
def test_invalid_module_key_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"^pair\.{key}: PyTorch cannot name a network '{key}'.*Choose another key"):
        Cohort({"first": partial(build_network, "resnet8", 5), key: pytest.fail}, branched=False, seed=0)


def test_deployed_backbone_is_the_last_stage_bit_for_bit() -> None:
    for branched in (True, False):
        network = cohort("resnet8", branched=branched).eval()
        assert torch.equal(network.backbones[0](IMAGES), network(IMAGES)[0].logits[-1])


def test_branch_sees_only_the_stages_before_its_tap() -> None:
    network = build_network("resnet8", 5, branches=True).eval()
    before = network(IMAGES).logits
    with torch.no_grad():
        for parameter in network.backbone.stages[1].parameters():
            parameter.mul_(2)
    after = network(IMAGES).logits
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_branches_have_weights_of_their_own() -> None:
    network = build_network("resnet8", 5, branches=True)
    last = [network.backbone.stages[2], network.branches[0].stages[1], network.branches[1].stages[0]]
    draws = [stage[0].conv1.weight for stage in last]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert draws[i].shape == draws[j].shape
        assert (draws[i] != draws[j]).all()


def test_branch_of_a_trained_backbone_is_newly_initialized() -> None:
    backbone = build_network("resnet8", 5)
    backbone(IMAGES + 3)  # moves the running statistics
    for parameter in backbone.parameters():
        nn.init.constant_(parameter, 7.0)
    for key, tensor in Network(backbone, branched=True).branches.state_dict().items():
        assert not (tensor == 7).any(), key
        if key.endswith("running_mean"):
            assert not tensor.any(), key


def test_seed_gives_the_same_backbone_with_and_without_branches() -> None:
    branched, plain = cohort("resnet8", "resnet8"), cohort("resnet8", "resnet8", branched=False)
    for branched_backbone, plain_backbone in zip(branched.backbones, plain.backbones, strict=True):
        assert torch.equal(weights(branched_backbone), weights(plain_backbone))


def test_choice_of_one_network_does_not_change_the_weights_of_others() -> None:
    one, other = cohort("resnet8", "resnet8"), cohort("wrn_16_2", "resnet8", "resnet8")
    assert torch.equal(weights(one.networks["second"]), weights(other.networks["second"]))


def test_networks_of_one_pair_start_from_different_weights() -> None:
    first, second = cohort("resnet8", "resnet8").networks.values()
    assert (first.backbone.stem[0].weight != second.backbone.stem[0].weight).all()
    assert (first.branches[0].stages[0][0].conv1.weight != second.branches[0].stages[0][0].conv1.weight).all()


def test_different_seeds_give_different_weights() -> None:
    assert not torch.equal(weights(cohort("resnet8", seed=1)), weights(cohort("resnet8", seed=2)))


def test_building_does_not_touch_the_global_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    cohort("resnet8", "resnet8")
    assert torch.equal(torch.rand(4), expected)


def test_state_dict_keys_name_network_and_module() -> None:
    source, target = cohort("resnet8", "wrn_10_1", seed=1), cohort("resnet8", "wrn_10_1", seed=2)
    state = source.state_dict()
    for key in (
        "networks.first.backbone.stem.0.weight",
        "networks.first.backbone.stages.1.0.conv1.weight",
        "networks.first.branches.0.stages.1.0.conv1.weight",
        "networks.second.branches.1.head.classifier.bias",
        "networks.second.backbone.head.neck.0.running_mean",
    ):
        assert key in state
    target.load_state_dict(state)
    assert torch.equal(weights(target), weights(source))


def test_gradient_of_a_gradient_passes_through_a_functional_call() -> None:
    network = build_network("hcgnet_a1", 5, branches=True)
    parameters = dict(network.named_parameters())

    def loss(values: dict[str, Tensor]) -> Tensor:
        outputs = torch.func.functional_call(network, values, (IMAGES[:, :, :8, :8],))
        return torch.stack(outputs.logits).square().mean()

    first = torch.autograd.grad(loss(parameters), list(parameters.values()), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), list(parameters.values()))
    assert all(torch.isfinite(g).all() for g in second)


class Plain(Backbone):
    """An architecture that uses only ``Backbone`` of this project."""

    def __init__(self, stages: int):
        super().__init__(
            name="plain",
            stem=nn.Conv2d(3, 4, 1),
            stages=[nn.Conv2d(4, 4, 3, stride=2, padding=1) for _ in range(stages)],
            head=Head(4, 5),
            in_channels=3,
            stride=2**stages,
        )


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_any_backbone_gets_one_branch_fewer_than_it_has_stages(stages: int) -> None:
    outputs = Network(Plain(stages), branched=True)(IMAGES)
    assert [tuple(features.shape) for features in outputs.features] == [(4, 4)] * stages
    assert [tuple(logits.shape) for logits in outputs.logits] == [(4, 5)] * stages
