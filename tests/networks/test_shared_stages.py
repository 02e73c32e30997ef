"""Networks that share stages: the published trees, their counts, gradients and deployed networks."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from support.golden_rule import filled, images
from torch import Tensor
from torch.func import functional_call

from mcl import build_network
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.cohort import Cohort
from mcl.networks.counting import multiply_adds, parameters
from mcl.networks.resnet import ResNet

GOLDEN = Path(__file__).parent.parent / "golden" / "peers"
PUBLISHED = np.load(GOLDEN / "branches.npz")
TREES: dict[str, tuple[int, int | list[int]]] = {
    "dml": (4, 1),
    "one": (4, 2),
    "okddip": (4, 2),
    "cl_ilr": (4, [1, 2, 4]),
    "one_authors": (3, 2),
}
PRIVATE = {"one": 140, "okddip": 1024, "one_authors": 105}  # parameters of gates and attention in resnet32


def cohort(
    networks: int, shared_stages: int | Sequence[int], name: str = "resnet8", classes: int = 10, **options: bool
) -> Cohort:
    factories = {f"n{i}": lambda: build_network(name, classes) for i in range(networks)}
    return Cohort(factories, branched=False, seed=0, shared_stages=shared_stages, **options)


def official_key(key: str, i: int, networks: int, names: Sequence[str], first: int) -> str:
    """Return the official name of a tensor of branch i: a shared one, or one of several copies, counted from first."""
    part, _, rest = key.partition(".")
    if part == "stem":
        return rest.replace("0.", "conv1.", 1) if rest.startswith("0.") else rest.replace("1.", "bn1.", 1)
    if part == "head":
        ends = [f"classifier_{i}", f"classifier3_{i}", f"classfier3_{i + first}"]
        return next(f"{end}.{rest.rpartition('.')[2]}" for end in ends if f"{end}.weight" in names)
    stage, _, rest = rest.partition(".")
    layer = f"layer{int(stage) + 1}"
    copies = {name.partition(".")[0] for name in names if name.startswith(f"{layer}_")}
    suffix = f"_{i * len(copies) // networks + first}" if copies else ""
    return f"{layer}{suffix}.{rest}"


@pytest.mark.parametrize("method", TREES)
def test_published_trees_have_their_logits_from_their_tensors(method: str) -> None:
    networks, shared = TREES[method]
    shapes = json.loads(str(PUBLISHED[f"{method}.keys"]))
    first = int(method == "one_authors")  # counts its branches from 1
    tree = cohort(networks, shared).double().eval()
    state = {}
    for i, backbone in enumerate(tree.backbones):
        for key, tensor in backbone.state_dict().items():
            name = official_key(key, i, networks, list(shapes), first)
            assert list(tensor.shape) == shapes[name], name
            state[f"networks.n{i}.backbone.{key}"] = filled(f"{PUBLISHED['salt']}{method}.", name, shapes[name])
    tree.load_state_dict(state)
    pixels = images(f"{PUBLISHED['salt']}input", (2, 3, 32, 32))
    logits = [outputs.logits[-1] for outputs in tree(pixels)]
    if method == "okddip":
        expected = [
            *torch.from_numpy(PUBLISHED["okddip.peers"]).unbind(-1),
            torch.from_numpy(PUBLISHED["okddip.leader"]),
        ]
    else:
        expected = list(torch.from_numpy(PUBLISHED[f"{method}.output"]))
    for actual, wanted in zip(logits, expected, strict=False):  # the official ONE adds its gated ensemble
        torch.testing.assert_close(actual, wanted, rtol=1e-10, atol=1e-10 * float(wanted.abs().max()))
    for backbone, actual in zip(tree.backbones, logits, strict=True):  # each is a whole network by itself
        assert torch.equal(backbone(pixels), actual)


@pytest.mark.parametrize("name", ["wrn_10_1", "shufflenetv2_05x", "hcgnet_a1", "imagenet/resnet18"])
def test_any_architecture_can_share_its_stages(name: str) -> None:
    tree = cohort(2, 2, name).eval()
    pixels = torch.randn(1, 3, 32, 32)
    for backbone, outputs in zip(tree.backbones, tree(pixels), strict=True):
        assert torch.equal(backbone(pixels), outputs.logits[-1])
    assert parameters(tree.backbones[0]) < parameters(tree) < 2 * parameters(tree.backbones[0])


@pytest.mark.parametrize("method", TREES)
def test_what_is_shared_counts_once(method: str) -> None:
    networks, shared = TREES[method]
    with torch.device("meta"):
        trained = parameters(cohort(networks, shared, "resnet32", 100))
    assert trained + PRIVATE.get(method, 0) == int(PUBLISHED[f"parameters.{method}_resnet32"])


def test_a_shared_trunk_is_computed_once_for_each_view() -> None:
    alone = multiply_adds(build_network("resnet8", 10), (3, 32, 32))
    tree, separate = cohort(3, 2), cohort(3, 0)
    last = multiply_adds(tree.backbones[0].stages[2], (32, 16, 16)) + 64 * 10
    assert multiply_adds(tree, (3, 32, 32)) == alone + 2 * last
    assert multiply_adds(tree, (3, 32, 32), views=3) == multiply_adds(separate, (3, 32, 32)) == 3 * alone


def gradients(tree: Cohort, pixels: Tensor, branches: Sequence[int]) -> dict[str, Tensor]:
    tree.zero_grad()
    outputs = tree(pixels)
    sum(outputs[i].logits[-1].square().sum() for i in branches).backward()
    return {name: parameter.grad.clone() for name, parameter in tree.named_parameters() if parameter.grad is not None}


def test_each_fork_divides_the_gradient_by_its_children() -> None:
    pixels = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain, rescaled = cohort(3, [1, 2, 3]).double().eval(), cohort(3, [1, 2, 3], rescale_gradients=True).double().eval()
    rescaled.load_state_dict(plain.state_dict())
    stem, second, third = (
        f"networks.n0.backbone.{part}"
        for part in ("stem.0.weight", "stages.1.0.conv1.weight", "head.classifier.weight")
    )
    for branch, share in enumerate([1 / 4, 1 / 4, 1 / 2]):  # as published for a binary tree of three
        whole, divided = gradients(plain, pixels, [branch]), gradients(rescaled, pixels, [branch])
        torch.testing.assert_close(divided[stem], share * whole[stem])
    whole, divided = gradients(plain, pixels, [0, 1, 2]), gradients(rescaled, pixels, [0, 1, 2])
    torch.testing.assert_close(divided[second], whole[second] / 2)
    assert torch.equal(divided[third], whole[third])
    assert torch.equal(
        divided["networks.n2.backbone.stages.2.0.conv1.weight"], whole["networks.n2.backbone.stages.2.0.conv1.weight"]
    )


def test_separate_views_move_the_statistics_of_a_trunk_once_each_in_order() -> None:
    tree = cohort(3, 2).double()
    views = torch.randn(3, 4, 3, 16, 16, dtype=torch.float64)
    alone = build_network("resnet8", 10).double()
    alone.load_state_dict(tree.backbones[0].state_dict())
    for view in views:
        alone.stem(view)
    outputs = tree(views)
    assert torch.equal(tree.backbones[2].stem[1].running_mean, alone.stem[1].running_mean)
    assert int(tree.backbones[0].stem[1].num_batches_tracked) == 3
    assert not torch.equal(outputs[0].logits[-1], outputs[1].logits[-1])


def test_a_seed_gives_the_first_network_the_weights_it_has_alone() -> None:
    shared, separate = cohort(2, 2), cohort(2, 0)
    same = separate.backbones[0].state_dict()
    assert all(torch.equal(tensor, same[key]) for key, tensor in shared.backbones[0].state_dict().items())
    assert shared.backbones[1].stem is shared.backbones[0].stem
    assert shared.backbones[1].stages[2] is not shared.backbones[0].stages[2]


def test_swapped_tensors_are_put_back() -> None:
    tree = cohort(2, 2).eval()
    before = {name: tensor.clone() for name, tensor in tree.state_dict().items()}
    zeros = {name: torch.zeros_like(tensor) for name, tensor in tree.named_parameters()}
    outputs = functional_call(tree, zeros, (torch.randn(1, 3, 16, 16),), tie_weights=False)
    assert all(not each.logits[-1].any() for each in outputs)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tree.state_dict().items())


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        (4, "pair.shared_stages=4: the networks have 3 stages"),
        ([2, 1], "never fewer than for the stage before"),
        ([0, 1], "from 1 to 4"),
        ([1, 5], "from 1 to 4"),
        ([1, 1, 1, 1], "needs for each of the 3 stages"),
        ([2, 3], "would follow two copies of the stage before"),
    ],
)
def test_trees_that_cannot_be_are_refused(shared: int | list[int], message: str) -> None:
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        cohort(5 if shared == [2, 3] else 4, shared)


@pytest.mark.parametrize("other", [[1, 1, 2], [2, 1, 1]])
def test_unlike_networks_share_nothing(other: list[int]) -> None:
    def resnet(name: str, depths: list[int]) -> Backbone:
        return ResNet(name=name, num_classes=10, depths=depths)

    factories = {"first": lambda: resnet("short", [1, 1, 1]), "second": lambda: resnet("long", other)}
    with pytest.raises(UserError, match=r"pair\.shared_stages: short and long have unlike stages"):
        Cohort(factories, branched=False, seed=0, shared_stages=1)
