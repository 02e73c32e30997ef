"""``python -m mcl export --names``: files for timm and torchvision, and recipes of our own networks."""

import contextlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import mcl
from mcl import build_network
from mcl.__main__ import main
from mcl.data.preprocessing import Preprocessing
from mcl.deploy import library_state_dicts
from mcl.deploy.metadata import NetworkMetadata
from mcl.deploy.recipe import encode_recipe
from mcl.errors import UserError
from mcl.networks.backbone import Backbone, Head
from mcl.networks.library import LibraryBackbone
from mcl.networks.weights import load_weights, read_weights

SYNTHETIC = [
    *("dataset=synthetic", "dataset.classes=3", "dataset.train_per_class=2", "dataset.test_per_class=1"),
    *("trainer.max_steps=1", "trainer.batch_size=6", "pair=single", "loss=independent", "tracking=none"),
]
OWN = ["resnet8", "resnet110_basic", "wrn_10_1", "shufflenetv2_05x", "hcgnet_a1"]


def metadata(backbone: Backbone) -> NetworkMetadata:
    preprocessing = Preprocessing(3, 32, (0.5,) * 3, (0.25,) * 3)
    return NetworkMetadata(backbone.name, "first", {}, ("a", "b"), preprocessing, "last", 1)


def usage(backbone: Backbone, file: str) -> str:
    return library_state_dicts.usage(backbone, metadata(backbone), "timm", file)


def test_a_file_for_torchvision_needs_torchvision_alone(command: Callable[..., Any], capfd: Any) -> None:
    typed = ["dataset.image_size=64", "network@pair.first=imagenet/shufflenetv2_05x", "hydra.run.dir=run"]
    assert command(*SYNTHETIC, *typed).status == 0
    assert main(["export", "run", "--format", "torch", "--names", "torchvision"]) == 0
    assert "loads strictly into torchvision's shufflenet_v2_x0_5, equal logits" in capfd.readouterr().out
    file = "run/export/first-imagenet_shufflenetv2_05x-torchvision.pt"
    model = torchvision.models.shufflenet_v2_x0_5(num_classes=3)
    model.load_state_dict(torch.load(file, weights_only=True), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), mcl.load("run")(images))
    card = Path("run/export/README.md").read_text()
    (code,) = [part.partition("```")[0] for part in card.split("```python\n")[1:]]
    Image.linear_gradient("L").resize((50, 90)).save("run/export/image.png")
    done: dict[str, Any] = {}
    with contextlib.chdir("run/export"):
        exec(code, done)
        network = mcl.load("..")
        with torch.no_grad():
            torch.testing.assert_close(done["logits"], network(network.preprocessing("image.png")))
    assert capfd.readouterr().out == f"{[network.classes[label] for label in done['logits'].argmax(1)]}\n"
    # The file also initializes a network, here with other classes.
    other = [*SYNTHETIC, "dataset.classes=4", "trainer.batch_size=8", *typed[:2], "hydra.run.dir=other"]
    started = command(*other, f"pair.first.weights={file}")
    assert "the classifier starts new: 3 classes there, 4 here" in started.out


def test_gray_networks_have_no_file_for_torchvision(command: Callable[..., Any], capfd: Any) -> None:
    typed = ["dataset.image_size=64", "network@pair.first=imagenet/shufflenetv2_05x", "dataset.channels=1"]
    assert command(*SYNTHETIC, *typed, "hydra.run.dir=run").status == 0
    assert main(["export", "run", "--format", "torch", "--names", "torchvision"]) == 1
    assert "It takes color images; this network takes gray ones." in capfd.readouterr().err


@pytest.mark.parametrize("format", ["torch", "safetensors"])
def test_a_file_for_a_library_is_no_network_for_mcl(format: str, tmp_path: Path) -> None:
    file = tmp_path / ("first.pt" if format == "torch" else "first.safetensors")
    file.write_bytes(library_state_dicts.encode({"fc.weight": torch.ones(2, 3)}, format, "timm"))
    with pytest.raises(UserError, match="or one with --names timm or torchvision, which holds weights alone: export"):
        mcl.load(file)


SMALL = ["timm/test_resnet", "timm/test_convnext", "timm/test_vit", "torchvision/resnet18"]
LARGE = ["torchvision/convnext_tiny", "torchvision/vit_b_32", "timm/convnext_atto", "timm/vit_tiny_patch16_224"]


@pytest.mark.parametrize("format", ["torch", "safetensors"])
@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_round_trip_of_a_network_of_a_library(name: str, format: str, tmp_path: Path) -> None:
    library = name.partition("/")[0]
    pytest.importorskip(library)
    backbone = build_network(name, 2).eval()
    assert isinstance(backbone, LibraryBackbone)
    with torch.no_grad():  # torchvision's transformers start with zeros, which would hide a wrong order
        for parameter in backbone.classifier.parameters():
            parameter.normal_()
    shape = (3, backbone.test_side, backbone.test_side)
    path = tmp_path / ("file.pt" if format == "torch" else "file.safetensors")
    path.write_bytes(library_state_dicts.encode(library_state_dicts.library_state(backbone, library), format, library))
    assert library_state_dicts.check(path, backbone, library, shape).endswith("equal logits")
    again = build_network(name, 2).eval()
    load_weights(again, read_weights(path, str(path)), source=str(path))
    images = torch.randn(2, *shape)
    with torch.no_grad():
        assert torch.equal(again(images), backbone(images))
        cast(nn.Linear, backbone.classifier).bias += 1
    with pytest.raises(UserError, match="computes other logits; they differ by 1"):
        library_state_dicts.check(path, backbone, library, shape)


def test_card_creates_a_model_with_the_same_options() -> None:
    pytest.importorskip("timm")
    options = {"img_size": 32}
    backbone = LibraryBackbone(name="vit", num_classes=2, library="timm", model="test_vit", options=options)
    assert 'create_model("test_vit", num_classes=2, img_size=32)' in usage(backbone, "f.pt")


def test_a_resnet_of_torchvision_is_one_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    backbone = build_network("imagenet/resnet18", 2).eval()
    state = library_state_dicts.library_state(backbone, "timm")
    timm.create_model("resnet18", num_classes=2).load_state_dict(state, strict=True)
    path = tmp_path / "file.pt"
    path.write_bytes(library_state_dicts.encode(state, "torch", "timm"))
    assert (
        library_state_dicts.check(path, backbone, "timm", (3, 64, 64))
        == "loads strictly into timm's resnet18, equal logits"
    )
    assert "import timm\nimport torch\n" in usage(backbone, "file.pt")


def test_own_networks_have_no_names_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--names timm: resnet8 is not a network of timm\. Use --names native"):
        library_state_dicts.library_state(build_network("resnet8", 2), "timm")
    with pytest.raises(UserError, match="a file of --format onnx has no names"):
        library_state_dicts.encode({}, "onnx", "timm")


def compute(recipe: dict[str, Any], tensors: dict[str, Tensor], images: Tensor) -> Tensor:
    """Compute the logits of a recipe with PyTorch alone."""
    results: dict[str, Any] = {"images": images}

    def value(argument: Any) -> Any:
        if isinstance(argument, dict):
            return results[argument["step"]] if "step" in argument else slice(*argument["slice"])
        return [value(each) for each in argument] if isinstance(argument, list) else argument

    for step in recipe["steps"]:
        if "layer" in step:
            layer = eval(f"torch.nn.{step['layer']}")
            layer.load_state_dict({name: tensors[path] for name, path in step["tensors"].items()})
            results[step["name"]] = layer.eval()(*map(value, step["inputs"]))
            continue
        place, _, name = step["operation"].rpartition(".")
        function = getattr(Tensor if place == "Tensor" else importlib.import_module(place), name)
        options = {key: value(each) for key, each in step["options"].items()}
        results[step["name"]] = function(*map(value, step["arguments"]), **options)
    logits: Tensor = results[recipe["logits"]]
    return logits


@pytest.mark.parametrize("name", OWN)
def test_a_recipe_computes_the_same_without_this_project(name: str) -> None:
    backbone = build_network(name, 2).eval()
    recipe = json.loads(encode_recipe(backbone, metadata(backbone)))
    state = backbone.state_dict()
    assert recipe["tensors"] == {key: list(tensor.shape) for key, tensor in state.items()}
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(compute(recipe, state, images), backbone(images))


def test_native_names_come_with_a_recipe(command: Callable[..., Any], capfd: Any) -> None:
    typed = ["dataset.image_size=8", "network@pair.first=resnet8", "hydra.run.dir=run"]
    assert command(*SYNTHETIC, *typed).status == 0
    assert main(["export", "run", "--format", "safetensors", "--names", "native"]) == 0
    assert "first-resnet8.recipe.json  its layers in order" in capfd.readouterr().out
    recipe = json.loads(Path("run/export/first-resnet8.recipe.json").read_text())
    assert recipe["classes"] == ["class_0", "class_1", "class_2"]
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = mcl.load("run")(images)
        assert torch.equal(compute(recipe, load_file("run/export/first-resnet8.safetensors"), images), expected)


def test_networks_whose_order_depends_on_the_images_have_no_recipe() -> None:
    class Choosing(Head):
        def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(maps if maps.sum() > 0 else -maps)

    backbone = Backbone(
        name="own", stem=nn.Identity(), stages=[nn.Identity()], head=Choosing(3, 2), in_channels=3, stride=1
    )
    with pytest.raises(UserError, match="own has no fixed order of layers"):
        encode_recipe(backbone, metadata(backbone))
