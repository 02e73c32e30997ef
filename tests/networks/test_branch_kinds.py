"""Kinds of auxiliary branches: the published heads of BYOT and DKS agree with the official codes, and others fit."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.golden_rule import filled, images
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from mcl import build_network
from mcl.errors import UserError
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.networks.backbone import Backbone, Head, conv_bn_relu, make_stages
from mcl.networks.branch_kinds import bottleneck_branch, kinds_of, make_branches
from mcl.networks.branch_names import BRANCH_KINDS
from mcl.networks.branches import Network
from mcl.networks.cohort import Cohort
from mcl.networks.counting import parameters
from mcl.networks.resnet import ResNet, _block
from mcl.networks.wide_resnet import WideResNet
from mcl.types import Batch

PEERS = Path(__file__).parent.parent / "golden" / "peers"
CLASSES = 5
LAYERS = ("reduce", "shrink", "expand")


def close(actual: Tensor, expected: np.ndarray) -> None:
    """Assert agreement to 1e-10, relative to the largest entry, or 1 if that is less."""
    wanted = torch.from_numpy(expected)
    bound = 1e-10 * max(1.0, wanted.abs().max().item())
    torch.testing.assert_close(actual.detach(), wanted, rtol=0, atol=bound)


class ByotResNet(Backbone):
    """The golden network of BYOT: a stem of 64 channels without max-pooling, four stages of one basic block."""

    def __init__(self) -> None:
        stages = make_stages(partial(_block, BasicBlock), [64, 64, 128, 256, 512], [1, 1, 1, 1], first_stride=1)
        stem = conv_bn_relu(3, 64, 3)
        super().__init__(name="byot", stem=stem, stages=stages, head=Head(512, CLASSES), in_channels=3, stride=8)


def side_head_name(key: str) -> str:
    """Return the golden name of a tensor of a side head."""
    part, _, rest = key.partition(".")
    if part == "head":
        return rest
    layer, position, last = rest.split(".")
    return f"{LAYERS[int(layer)]}{'_bn' * (position == '1')}.{last}"


def byot_name(key: str) -> str:
    """Return the official name of a tensor of BYOT's network."""
    part, _, rest = key.partition(".")
    if part == "backbone":
        part, _, rest = rest.partition(".")
        index, _, last = rest.partition(".")
        return {"stem": f"{'bn1' if index == '1' else 'conv1'}.{last}", "head": f"fc.{last}"}.get(
            part, f"layer{int(index) + 1 if index.isdigit() else 0}.{last}"
        )
    k, part, *others = rest.split(".")
    if part == "head":
        return f"middle_fc{int(k) + 1}.{others[-1]}"
    layer, position, last = others
    return f"bottleneck{int(k) + 1}_1.{3 * int(layer) + int(position)}.{last}"


def dks_name(key: str) -> str:
    """Return the official name of a tensor of a Wide ResNet with the branches of DKS."""
    where, _, rest = key.partition(".")
    prefix = ""
    if where == "branches":
        k, _, rest = rest.partition(".")
        prefix = f"ep{int(k) + 1}_"
    part, _, rest = rest.partition(".")
    if part == "stem":
        return "conv0"
    if part == "head":
        layer, *_, last = rest.split(".")
        return f"{prefix}{'bn' if layer == 'neck' else 'fc'}.{last}"
    stage, block, layer, last = rest.split(".")
    group = int(stage) + int(prefix[2:3] or 0)
    layer = {"bn1": "bn0", "conv1": "conv0", "bn2": "bn1", "conv2": "conv1", "shortcut": "convdim"}[layer]
    return f"{prefix}group{group}.block{block}.{layer}" + (f".{last}" if layer.startswith("bn") else "")


def fill(network: Network, method: str) -> set[str]:
    """Fill a network by the golden rule; return the official names and shapes of its tensors."""
    name = {"byot": byot_name, "dks": dks_name}[method]
    own = network.state_dict()
    network.load_state_dict({key: filled(f"peers-{method}-", name(key), tensor.shape) for key, tensor in own.items()})
    return {
        f"{name(key)} {'x'.join(map(str, tensor.shape))}"
        for key, tensor in own.items()
        if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("method", ["byot", "dks"])
def test_networks_of_the_official_codes(method: str) -> None:
    golden = np.load(PEERS / "networks.npz")
    backbone = ByotResNet() if method == "byot" else build_network("wrn_16_1", CLASSES)
    network = Network(backbone, branched=True, branch_kind=method).double()
    unused = {key for key in golden[f"{method}.keys"] if key.startswith("downsample")}
    assert fill(network, method) == set(golden[f"{method}.keys"]) - unused
    for mode in ("eval", "train"):
        logits = network.train(mode == "train")(images("peers-B-input", (3, 2, 3, 32, 32))[0]).logits
        ordered = [logits[-1], *logits[:-1]] if method == "byot" else logits
        close(torch.stack(ordered), golden[f"{method}.{mode}"])


def test_side_head_of_byot() -> None:
    golden = {key.removeprefix("side."): value for key, value in np.load(PEERS / "byot.npz").items()}
    branch = bottleneck_branch(4, 8, 10, shrink=int(golden["kernel"])).double()
    state = {
        key: torch.tensor(0) if key.endswith("tracked") else torch.from_numpy(golden[name])
        for key in branch.state_dict()
        if (name := side_head_name(key)) in golden or key.endswith("tracked")
    }
    branch.load_state_dict(state, strict=False)  # the running statistics start as they are
    maps = torch.from_numpy(golden["input"]).requires_grad_()
    pooled, logits = branch(maps)
    close(pooled, golden["pooled"])
    close(logits, golden["logits"])
    probed = logits * torch.from_numpy(golden["probe"])
    (probed.sum() + (pooled * torch.from_numpy(golden["probe_pooled"])).sum()).backward()
    assert maps.grad is not None
    close(maps.grad, golden["grad.input"])
    for key, parameter in branch.named_parameters():
        assert parameter.grad is not None
        close(parameter.grad, golden[f"grad.{side_head_name(key)}"])
    for key, buffer in branch.named_buffers():
        if not key.endswith("tracked"):
            close(buffer, golden[f"after.{side_head_name(key)}"])


def test_side_heads_of_resnet18_have_the_published_size() -> None:
    shapes = zip((64, 128, 256), (8, 4, 2), strict=True)
    heads = [bottleneck_branch(channels, 512, 100, shrink=shrink) for channels, shrink in shapes]
    assert sum(parameters(head) for head in heads) == 1_791_020


@pytest.mark.parametrize(
    ("name", "shrinks"),
    [
        ("resnet8", [4, 2]),
        ("wrn_10_1", [4, 2]),
        ("shufflenetv2_05x", [4, 2]),
        ("timm/test_vit", [1, 1]),  # tokens do not become fewer
        ("timm/test_mambaout", [8, 4, 2]),  # channels last
    ],
)
def test_byot_fits_every_backbone(name: str, shrinks: list[int]) -> None:
    network = build_network(name, CLASSES, branches="byot")
    layers = [layer for branch in network.branches for layer in branch.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.stride[0] for layer in layers[1::3]] == shrinks
    assert trained(network) == [network.backbone.width] * (len(shrinks) + 1)


@pytest.mark.parametrize("name", ["resnet8", "timm/test_vit"])
def test_light_fits_every_backbone(name: str) -> None:
    network = build_network(name, CLASSES, branches="light")
    assert set(trained(network)) == {network.backbone.width}


@pytest.mark.parametrize(
    ("backbone", "widths"),
    [
        (partial(build_network, "resnet8", CLASSES), [64, 128, 64]),
        (partial(build_network, "wrn_10_1", CLASSES), [64, 128, 64]),
        (partial(build_network, "shufflenetv2_05x", CLASSES), [1024, 1024, 1024]),
        (partial(ResNet, name="two", num_classes=CLASSES, depths=[2, 2]), [64, 32]),
        (
            partial(ResNet, name="neck", num_classes=CLASSES, depths=[1, 2, 2, 2], block="bottleneck"),
            [512, 512, 1024, 512],
        ),
    ],
)
def test_dks_fits_backbones_made_of_blocks(backbone: partial[Backbone], widths: list[int]) -> None:
    network = Network(backbone(), branched=True, branch_kind="dks")
    assert network.widths == trained(network) == widths


def test_depths_of_dks() -> None:
    def depths(*own: int) -> list[list[int]]:
        backbone = ResNet(name="mine", num_classes=CLASSES, depths=list(own))
        return [[len(list(stage.children())) for stage in branch.stages] for branch in make_branches(backbone, "dks")]

    assert depths(2, 3, 5) == [[3, 2], [5]]
    assert depths(1, 1, 1) == [[1, 1], [1]]  # the official code breaks here
    assert depths(1, 2, 3, 4) == [[2, 3, 2], [3, 2], [4]]
    assert depths(1, 2) == [[2]]


def trained(network: Network) -> list[int]:
    """Let gradients reach every parameter of a network; return the widths of its features."""
    side = network.backbone.test_side
    outputs = network(torch.randn(2, 3, side, side))
    torch.stack([logits.square().sum() for logits in outputs.logits]).sum().backward()
    assert [key for key, value in network.named_parameters() if value.grad is None] == []
    assert {logits.shape for logits in outputs.logits} == {(2, CLASSES)}
    return [features.shape[1] for features in outputs.features]


def test_side_heads_start_as_published() -> None:
    torch.manual_seed(0)
    branch = bottleneck_branch(64, 512, 100, shrink=8)
    layers = [layer for layer in branch.modules() if isinstance(layer, nn.Conv2d)]
    assert all(layer.bias is not None and layer.bias.any() for layer in layers)
    assert layers[1].weight.std().item() == pytest.approx((2 / (128 * 8 * 8)) ** 0.5, rel=0.01)  # fan-out
    norms = [layer for layer in branch.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(torch.equal(norm.weight, torch.ones_like(norm.weight)) and not norm.bias.any() for norm in norms)


def test_blocks_of_dks_are_dropped_as_those_of_the_backbone() -> None:
    backbone = WideResNet(name="wrn", num_classes=CLASSES, depths=[2, 2, 2], widen_factor=1, drop_path=0.5)
    first, second = make_branches(backbone, "dks")
    rates = [[block.drop_path.p for block in stage] for branch in (first, second) for stage in branch.stages]
    assert rates == [pytest.approx(each) for each in ([0.2, 0.3], [0.4], [0.4, 0.5])]


def test_branches_do_not_change_the_backbone() -> None:
    states = [
        Cohort({"a": partial(build_network, "resnet8", 4)}, branched=True, seed=3, branch_kinds={"a": kind})
        .backbones[0]
        .state_dict()
        for kind in BRANCH_KINDS
    ]
    assert all(torch.equal(states[0][key], other[key]) for other in states[1:] for key in states[0])


def test_networks_share_stages_with_any_kind() -> None:
    factories = {key: partial(build_network, "resnet8", 4) for key in "ab"}
    kinds = {"a": "byot", "b": "dks"}
    cohort = Cohort(factories, branched=True, seed=0, shared_stages=1, branch_kinds=kinds, maps=True)
    assert [network.branch_kind for network in cohort] == ["byot", "dks"]
    assert cohort.widths == [[64, 64, 64], [64, 128, 64]]
    assert [shape.widths for shape in cohort.shapes()] == cohort.widths
    assert [len(outputs.logits) for outputs in cohort(torch.randn(2, 3, 16, 16))] == [3, 3]


def test_lmcl_takes_stages_of_unequal_widths() -> None:
    factories = {key: partial(build_network, "resnet8", 4) for key in "ab"}
    cohort = Cohort(factories, branched=True, seed=0, branch_kinds={"a": "dks"})
    loss = LMCL(widths=cohort.widths, matching=LayerMatching, meta=None, dim=8)
    batch = Batch(torch.randn(6, 3, 8, 8), torch.tensor([0, 0, 1, 1, 2, 2]), torch.arange(6))
    loss.total(loss(cohort(batch.images), batch)).backward()
    assert [aggregator.layers[0].weight.shape for aggregator in loss.aggregators] == [(64, 256), (64, 192)]


@pytest.mark.parametrize("name", ["timm/test_resnet", "hcgnet_a1"])
def test_dks_is_refused_without_blocks(name: str) -> None:
    make = partial(build_network, name, 4)
    assert kinds_of(make()) == ["copy", "light", "byot"]
    with pytest.raises(UserError, match=r"^pair\.x\.branches=dks: .* Give pair\.x\.branches=byot, light or copy\.$"):
        Cohort({"x": make}, branched=True, seed=0, branch_kinds={"x": "dks"})
    Cohort({"x": make}, branched=False, seed=0, branch_kinds={"x": "dks"})  # a loss without branches


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"branches=byt: there is no such kind of branches\. Did you mean 'byot'"):
        build_network("resnet8", 4, branches="byt")
