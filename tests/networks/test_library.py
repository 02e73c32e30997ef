"""Models of timm and torchvision as backbones: their own logits, found and named stages, branches, weights, errors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import WeightsEnum, get_model

from mcl.errors import UserError
from mcl.networks.branches import Network
from mcl.networks.cohort import Cohort
from mcl.networks.counting import parameters
from mcl.networks.library import LibraryBackbone
from mcl.networks.library_models import create_model
from mcl.networks.weights import load_weights, read_weights

CLASSES = 5
SHORT = [  # small ones of many kinds: maps with channels first and last, tokens, convolutions as classifiers
    *("timm/test_resnet", "timm/test_convnext", "timm/test_vit", "timm/test_mambaout", "timm/test_nfnet"),
    *("timm/test_efficientnet", "timm/lcnet_035", "timm/ghostnet_050", "timm/dla46_c"),
    *("torchvision/mnasnet0_5", "torchvision/shufflenet_v2_x0_5", "torchvision/squeezenet1_1"),
]
TIMM = """
    beit_base_patch16_224 caformer_s18 cait_xxs24_224 convit_tiny convmixer_768_32 convnext_atto convnextv2_atto
    cs3darknet_focus_s csatv2 cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121 dla46_c dpn48b edgenext_xx_small
    efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224
    fasternet_t0 fastvit_t8 flexivit_small focalnet_tiny_srf gcvit_xxtiny ghostnet_050 gmlp_ti16_224 halonet_h1
    hardcorenas_b hgnetv2_b0 hiera_tiny_224 iformer_t inception_next_atto inception_v3 lcnet_035 legacy_seresnet18
    legacy_xception levit_128s lowformer_b0 mambaout_femto maxvit_nano_rw_256 mobilenetv3_small_050 mobileone_s0
    mobilevit_xxs nest_tiny nf_regnet_b0 pvt_v2_b0 rdnet_tiny regnetx_002 repghostnet_050 repvit_m1 res2next50
    resnest14d resnet14t resnetv2_18 rexnet_100 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
    swin_tiny_patch4_window7_224 tinynet_e tiny_vit_5m_224 vgg11 visformer_tiny vit_tiny_patch16_224 vovnet39a
    xcit_nano_12_p8_224
"""
TORCHVISION = """
    alexnet convnext_small convnext_tiny densenet121 densenet169 efficientnet_b0 efficientnet_b1 efficientnet_b2
    efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2
    mobilenet_v3_large mobilenet_v3_small regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_400mf regnet_y_800mf
    resnet18 resnet34 resnet50 resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_5 squeezenet1_0 swin_t swin_v2_t
    vgg11 vgg11_bn vit_b_16
"""
LONG = [*(f"timm/{name}" for name in TIMM.split()), *(f"torchvision/{name}" for name in TORCHVISION.split())]


def network(name: str, **options: Any) -> LibraryBackbone:
    library, _, model = name.partition("/")
    return LibraryBackbone(**{"name": name, "num_classes": CLASSES, "library": library, "model": model, **options})


def images(backbone: LibraryBackbone, count: int = 2) -> Tensor:
    side = backbone.test_side
    return torch.randn(count, backbone.in_channels, side, side, generator=torch.Generator().manual_seed(1))


def logits_equal_the_librarys(backbone: LibraryBackbone) -> bool:
    """Load the weights of a backbone into the library's own model and compare, bit by bit."""
    source = create_model(
        backbone.library, backbone.model, num_classes=CLASSES, in_channels=backbone.in_channels, options={}
    )
    names, state = backbone.library_names(), source.state_dict()
    own = backbone.state_dict()
    assert names.keys() == own.keys()
    assert {*names.values()} <= state.keys()
    state.update({names[key]: own[key] for key in own})
    source.load_state_dict(state)
    with torch.no_grad():
        return torch.equal(backbone.eval()(images(backbone)), source.eval()(images(backbone)))


def trains(branched: Network) -> None:
    """Take two steps, in which every parameter gets a gradient and the classifiers change."""
    before = {key: value.clone() for key, value in branched.state_dict().items()}
    optimizer = torch.optim.SGD(branched.parameters(), lr=0.01)
    labels = torch.arange(2) % CLASSES
    for _ in range(2):
        outputs = branched.train()(images(branched.backbone))
        assert {tuple(features.shape) for features in outputs.features} == {(2, branched.backbone.width)}
        assert {maps.dim() for maps in outputs.maps} == {4}
        optimizer.zero_grad()
        torch.stack([F.cross_entropy(logits, labels) for logits in outputs.logits]).sum().backward()
        optimizer.step()
    assert all(value.isfinite().all() for value in branched.parameters())
    assert [key for key, value in branched.named_parameters() if value.grad is None] == []
    changed = {key for key, value in branched.named_parameters() if not torch.equal(value, before[key])}
    assert {key.split(".")[0] for key in changed} == {"backbone", "branches"}


@pytest.mark.parametrize("name", [*SHORT, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)])
def test_model_keeps_its_logits_and_trains_with_branches(name: str) -> None:
    backbone = network(name)
    assert logits_equal_the_librarys(backbone)
    branched = Network(backbone, branched=True, maps=True)
    assert len(branched.branches) == len(backbone.stages) - 1 > 0
    assert branched.shape().channels == [maps.shape[1] for maps in branched(images(backbone)).maps]
    trains(branched)


@pytest.mark.parametrize(
    ("name", "names", "sizes"),
    [
        ("torchvision/resnet18", ["layer1", "layer2", "layer3", "layer4"], [16, 8, 4, 2]),
        ("torchvision/mobilenet_v3_small", ["features.1", "features.3", "features.8", "features.12"], [16, 8, 4, 2]),
        ("timm/test_vit", ["blocks.1", "blocks.3", "blocks.5"], [4, 4, 4]),
        ("timm/test_mambaout", ["stages.0", "stages.1", "stages.2", "stages.3"], [16, 8, 4, 2]),
    ],
)
def test_stages_are_found(name: str, names: list[str], sizes: list[int]) -> None:
    backbone = network(name)
    shapes = backbone.map_shapes(backbone.test_side)
    assert backbone.stage_names == names
    assert [height for _, height, _ in shapes] == [width for _, _, width in shapes] == sizes


def test_found_stages_can_be_named() -> None:
    found = network("timm/test_convnext")
    named = network("timm/test_convnext", stages=found.stage_names)
    assert named.stage_names == found.stage_names
    assert [parameters(stage) for stage in named.stages] == [parameters(stage) for stage in found.stages]


def test_stages_named_by_hand() -> None:
    backbone = network("timm/test_resnet", stages=["layer2", "layer3.0", "layer4"])
    assert backbone.stage_names == ["layer2", "layer3.0", "layer4"]
    assert logits_equal_the_librarys(backbone)
    assert {key.split(".")[1] for key in backbone.stem.state_dict() if "layer" in key} <= {"0"}  # layer1 alone


def test_blocks_of_a_stage_can_be_named() -> None:
    backbone = network("timm/test_convnext", stages=["stages.2.blocks.0", "stages.3"])
    assert backbone.stage_names == ["stages.2.blocks.0", "stages.3"]
    assert logits_equal_the_librarys(backbone)


def test_branches_are_new_models_of_the_library() -> None:
    backbone = network("timm/test_vit")
    branch = backbone.branch(1)
    assert parameters(branch.stages) == sum(parameters(stage) for stage in [*backbone.stages][1:])
    assert not {id(p) for p in backbone.parameters()} & {id(p) for p in branch.parameters()}
    weight = "0.blocks.2.attn.qkv.weight"
    assert not torch.equal(branch.stages.state_dict()[weight], nn.ModuleList(backbone.stages)[1:].state_dict()[weight])


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_vit", "timm/test_mambaout"])
def test_light_branches_cost_little_and_train(name: str) -> None:
    kinds = ("light", "copy")
    light, copies = (Network(network(name), branched=True, branch_kind=kind, maps=True) for kind in kinds)
    assert parameters(light.branches) < 0.2 * parameters(copies.branches)
    trains(light)


def test_tokens_become_maps_without_the_class_token() -> None:
    backbone = network("timm/test_vit")
    (tokens, *_) = backbone.eval().feature_maps(images(backbone))
    assert tokens.shape == (2, 17, 64)  # a class token and 4 x 4
    assert torch.equal(backbone.as_map(0, tokens)[1, :, 3, 2], tokens[1, 1 + 14])


def test_channels_last_become_maps() -> None:
    backbone = network("timm/test_mambaout")  # its first maps are 16 x 16 of 16 channels, so sizes alone do not tell
    (first, *_) = backbone.eval().feature_maps(images(backbone))
    assert torch.equal(backbone.as_map(0, first)[1, :, 3, 4], first[1, 3, 4])


def test_options_reach_the_library() -> None:
    backbone = network("timm/test_vit", options={"img_size": 32, "patch_size": 4})
    assert backbone.test_side == 32
    assert backbone.map_shapes(32)[0] == (64, 8, 8)


def test_dropout_by_a_function_follows_the_mode() -> None:
    backbone = network("timm/test_resnet", options={"drop_rate": 0.5})
    batch = images(backbone)
    assert torch.equal(backbone.eval()(batch), backbone(batch))
    maps = [maps.detach() for maps in backbone.feature_maps(batch)]
    backbone.head.train()
    assert not torch.equal(backbone.head(maps[-1])[1], backbone.head(maps[-1])[1])


@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/mnasnet0_5"])
def test_gray_images(name: str) -> None:
    backbone = network(name, in_channels=1)
    assert backbone(images(backbone)).shape == (2, CLASSES)
    backbone.check_input(1, 64)


def test_alike_models_share_stages() -> None:
    factories = {key: lambda: network("timm/test_resnet") for key in ("first", "second")}
    cohort = Cohort(factories, branched=True, seed=0, shared_stages=2)
    first, second = cohort.backbones
    assert first.stages[1] is second.stages[1]
    assert first.stages[2] is not second.stages[2]
    first_outputs, _ = cohort.eval()(images(first))
    assert torch.equal(first_outputs.logits[-1], first(images(first)))


def test_seed_decides_the_weights() -> None:
    one, two, other = (
        Cohort({"first": lambda: network("timm/test_vit")}, branched=True, seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_weights_of_a_file_of_the_library(tmp_path: Path) -> None:
    source = create_model("timm", "test_resnet", num_classes=7, in_channels=3, options={})
    torch.save({"state_dict": source.state_dict()}, tmp_path / "weights.pt")
    backbone = network("timm/test_resnet")
    classifier = backbone.head.state_dict()["run.fc.weight"].clone()
    loaded = load_weights(backbone, read_weights(tmp_path / "weights.pt", "weights"), source="weights")
    assert "the classifier starts new: 7 classes there, 5 here" in loaded.text
    assert torch.equal(backbone.state_dict()["stem.conv1.0.weight"], source.state_dict()["conv1.0.weight"])
    assert torch.equal(backbone.head.state_dict()["run.fc.weight"], classifier)


def test_weights_of_another_model_are_refused() -> None:
    source = create_model("timm", "test_vit", num_classes=CLASSES, in_channels=3, options={})
    with pytest.raises(UserError, match=r"weights does not hold the weights of timm/test_resnet"):
        load_weights(network("timm/test_resnet"), source.state_dict(), source="weights")


def test_weights_that_the_library_does_not_have_are_refused() -> None:
    with pytest.raises(UserError, match="weights=nosuch: timm cannot give these weights"):
        network("timm/test_resnet", weights="nosuch").load_pretrained()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm/resnet81", {}, r"timm has no classifier of this name. Did you mean 'resnet18'"),
        ("timm/convnext_atto.d2_in1k", {}, r"Write timm/convnext_atto, and pair.NETWORK.weights=d2_in1k"),
        ("torchvision/resnet81", {}, r"torchvision has no classifier of this name. Did you mean 'resnet18'"),
        ("timm/test_resnet", {"options": {"img_sze": 3}}, r"timm cannot build it with options=.*img_sze"),
        ("timm/test_resnet", {"options": {"checkpoint_path": "x"}}, r"options.checkpoint_path cannot be set"),
        ("timm/test_resnet", {"stages": ["layer9"]}, r"runs no module layer9. Did you mean 'layer"),
        ("timm/test_resnet", {"stages": ["layer3", "layer2"]}, r"none can end with layer2 at this place"),
        ("timm/test_resnet", {"stages": []}, r"name at least one module"),
        ("timm/hrnet_w18_small", {}, r"cannot be cut into stages: .* so choose another network"),
        ("torchvision/resnet18", {"in_channels": 4}, r"in_channels=4: must be 3"),
    ],
)
def test_what_cannot_be_wrapped_says_why(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        network(name, **options)


def test_other_image_sizes_are_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"does not take images of 64 x 64 pixels, but of 160 x 160 .*img_size=64"):
        network("timm/test_maxvit").check_input(3, 64)
    network("timm/test_resnet").check_input(3, 96)


def test_pretrained_weights_of_inception_load_without_its_auxiliary_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        fetched = get_model("inception_v3", init_weights=False).state_dict()
        monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: fetched)
        text = network("torchvision/inception_v3", weights="DEFAULT").load_pretrained()
    assert text is not None
    assert "the classifier starts new: 1000 classes there" in text


def test_a_transformer_of_torchvision_takes_the_size_that_its_option_names() -> None:
    with torch.device("meta"):
        backbone = network("torchvision/vit_b_32", options={"image_size": 96})
        assert backbone.test_side == 96
        with pytest.raises(UserError, match=r"but of 96 x 96 .*options\.image_size=64\."):
            backbone.check_input(3, 64)


def test_model_of_one_stage_has_no_branches() -> None:
    backbone = network("timm/pit_ti_224")
    assert Network(backbone, branched=False)(images(backbone)).logits[0].shape == (2, CLASSES)
    with pytest.raises(UserError, match="only one stage was found"):
        Network(backbone, branched=True)
