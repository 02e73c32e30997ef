"""Attacks by configuration: interpolations and classes, in every file that holds a configuration."""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.received import CANARY, as_json, metadata_of, rewrite_bundle, save_safetensors

import mcl
from mcl.deploy.kinds import CLASSES, check_classes
from mcl.deploy.metadata import NetworkMetadata
from mcl.errors import UserError
from mcl.runs import checkpoints
from mcl.runs.stored_config import decode_config

Refused = Callable[..., str]
PAYLOAD = "${oc.create:{_target_:logging.FileHandler,filename:" + CANARY + "}}"
INTERPOLATIONS: dict[str, Any] = {
    "plain": PAYLOAD,
    "escaped": "\\" + PAYLOAD,
    "escaped twice": "\\\\\\" + PAYLOAD,
    "nested": "${oc.create:{a:" + PAYLOAD + "}}",
    "as text": "${oc.create:'" + PAYLOAD + "'}",
    "a secret of the environment": "${oc.env:MCL_TEST_SECRET}",
    "decoded": "${oc.decode:'[1, 2]'}",
    "a resolver of ours": "${checksum_of:/etc/passwd}",
    "of another option": "${dataset.seed}",
    "unfinished": "${",
    "in a key": {PAYLOAD: 1},
    "in a nested key": {"a": [{"b": {PAYLOAD: 1}}]},
    "in a list": [1, [PAYLOAD]],
    "in a list of mappings": [{"a": {"b": PAYLOAD}}],
}


@pytest.mark.parametrize("value", INTERPOLATIONS.values(), ids=INTERPOLATIONS)
@pytest.mark.parametrize("option", ["name", "depths", "_target_"])
def test_no_interpolation_survives(value: Any, option: str, monkeypatch: pytest.MonkeyPatch, sent: Path) -> None:
    monkeypatch.setenv("MCL_TEST_SECRET", "hunter2")
    config = yaml.safe_load((sent / "run" / "config.yaml").read_text())
    config["pair"]["first"][option] = value
    about = metadata_of(sent) | {"architecture": config["pair"]["first"]}
    readers: list[Callable[[], Any]] = [
        lambda: decode_config(yaml.safe_dump(config), "config.yaml"),
        lambda: checkpoints.decode(checkpoints.encode({"config": config}), "last.pt"),
        lambda: NetworkMetadata.from_dict(about, "network.pt"),
        lambda: NetworkMetadata.from_text(as_json(about), "network.safetensors"),
    ]
    for read in readers:
        with pytest.raises(UserError, match=r"interpolation|no configuration: ") as error:
            read()
        assert "hunter2" not in str(error.value)
        assert str(error.value).isprintable()


def in_config(place: Path, network: dict[str, Any]) -> str:
    config = yaml.safe_load((place / "run" / "config.yaml").read_text())
    config["pair"]["first"] |= network
    (place / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    return "run"


def in_checkpoint_alone(place: Path, network: dict[str, Any]) -> str:
    (place / "run" / "config.yaml").unlink()
    for file in (place / "run" / "checkpoints").iterdir():
        state = checkpoints.load(file)
        state["config"]["pair"]["first"] |= network
        checkpoints.save(file, state)
    return "run"


def in_bundle(place: Path, network: dict[str, Any]) -> str:
    config = yaml.safe_load((place / "run" / "config.yaml").read_text())
    config["pair"]["first"] |= network
    rewrite_bundle(place / "bundle.zip", {"config.yaml": yaml.safe_dump(config).encode()})
    return "bundle.zip"


def in_torch(place: Path, network: dict[str, Any]) -> str:
    content = checkpoints.load(place / "network.pt")
    content["about"]["architecture"] |= network
    checkpoints.save(place / "network.pt", content)
    return "network.pt"


def in_safetensors(place: Path, network: dict[str, Any]) -> str:
    about = metadata_of(place)
    save_safetensors(place / "network.safetensors", as_json(about | {"architecture": about["architecture"] | network}))
    return "network.safetensors"


def in_onnx(place: Path, network: dict[str, Any]) -> str:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(place / "network.onnx"))
    about = metadata_of(place)
    onnx.helper.set_model_props(model, as_json(about | {"architecture": about["architecture"] | network}))
    onnx.save(model, str(place / "network.onnx"))
    return "network.onnx"


FILES = [in_config, in_checkpoint_alone, in_bundle, in_torch, in_safetensors, in_onnx]


@pytest.mark.parametrize("written", FILES)
def test_every_kind_of_file_is_refused_in_one_line(written: Callable[..., str], place: Path, refused: Refused) -> None:
    assert "interpolation" in refused("predict", written(place, {"name": PAYLOAD}), "image.png")


@pytest.mark.parametrize("written", FILES[:-1])
@pytest.mark.parametrize(
    "target", ["mcl.data.published.download", "logging.FileHandler", "mcl.networks.cohort.Cohort", "torch.nn.Linear"]
)
def test_no_other_class_is_built(target: str, written: Callable[..., str], place: Path, refused: Refused) -> None:
    network = {"_target_": target, "filename": CANARY}
    assert "a received file may build only" in refused("predict", written(place, network), "image.png")


NAMED = {  # a place -> what is named there
    "pair.first": ["builtins.eval", "os.system", "subprocess.Popen", "torch.hub.load", "torch.load", "mcl.load"],
    "pair.first.depths": ["builtins.list", "mcl.networks.resnet.ResNet", "torch.nn.ModuleList"],
    "pair.first.name.deep.0": ["pathlib.Path"],
    "loss": ["mcl.networks.resnet.ResNet", "mcl.data.digits.Digits", "torch.nn.CrossEntropyLoss"],
    "loss.weights": ["mcl.losses.mcl.MCL", "mcl.data.cache.load_or_build"],
    "dataset": ["mcl.losses.lmcl.LMCL", "mcl.data.cache.cache_folder", "torchvision.datasets.CIFAR10"],
    "dataset.root": ["mcl.data.published.download"],
    "dataset.augmentation": ["mcl.data.published.download", "torchvision.transforms.Lambda"],
    "dataset.transform.0": ["torchvision.transforms.Lambda", "torchvision.transforms.v2.Lambda", "shutil.rmtree"],
    "optimizer": ["mcl.training.options.TrainerOptions", "torch.optim.lr_scheduler.LambdaLR"],
    "trainer": ["torch.optim.SGD", "mcl.training.run.Run"],
    "trainer.epochs": ["mcl.data.published.download"],
    "tracking.wandb": ["mcl.tracking.local.LocalFiles", "wandb.init"],
    "seed": ["random.seed"],
}


@pytest.mark.parametrize(("path", "target"), [(path, name) for path, names in NAMED.items() for name in names])
def test_a_class_stands_only_in_its_place(path: str, target: str) -> None:
    with pytest.raises(UserError, match="a received file may build") as error:
        check_classes({"_target_": target}, path=path)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", [1, None, ["torch.optim.SGD"], {"a": 1}, "", ".", "..", "a b", "mcl.losses\n", "\x1b"])
def test_a_target_that_is_no_name_is_refused_in_one_line(name: Any) -> None:
    with pytest.raises(UserError) as error:
        check_classes({"optimizer": {"_target_": name}})
    assert str(error.value).isprintable()


def test_no_function_of_ours_may_be_named_anywhere() -> None:
    functions = {
        f"{module.name}.{name}"
        for module in pkgutil.walk_packages(mcl.__path__, "mcl.")
        if module.name.split(".")[1] in ("networks", "losses", "data", "training", "tracking")
        for name, value in vars(importlib.import_module(module.name)).items()
        if inspect.isfunction(value)
    }
    assert len(functions) > 100
    assert not functions & set().union(*CLASSES.values())
    for place in CLASSES:
        for name in sorted(functions):
            with pytest.raises(UserError):
                check_classes({"_target_": name}, path=place.replace("**", "0").replace("*", "first"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("depths", "3"),
        ("depths", [1, "1"]),
        ("depths", [10**9]),
        ("depths", [8193]),
        ("depths", {"a": 1}),
        ("depths", [True]),
        ("block", "sideways"),
        ("name", 3),
        ("new", 1),
        ("_args_", [1]),
        ("_recursive_", {"_target_": "os.system"}),
    ],
)
def test_arguments_are_checked_before_anything_is_built(option: str, value: Any, place: Path, refused: Refused) -> None:
    refused("predict", in_safetensors(place, {option: value}), "image.png")


def test_numbers_of_the_callers_own_class_alone_have_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "from mcl.networks.resnet import ResNet as Same\nclass Net:\n    pass\n"
    (tmp_path / "own_networks.py").write_text(own)
    monkeypatch.syspath_prepend(tmp_path)
    net = {"_target_": "own_networks.Net", "hidden": 16384, "sizes": [{"wide": 10**6}]}
    for path in ("pair.first", "architecture"):
        check_classes(net, path=path, allow=["own_networks"])
    ours = {"_target_": "mcl.networks.resnet.ResNet", "depths": [8193]}
    for other in (ours, ours | {"_target_": "own_networks.Same"}):  # found there, but not defined there
        with pytest.raises(UserError, match=r"pair\.second\.depths\.0=8193: no number of a received network may be"):
            check_classes({"pair": {"first": net, "second": other}}, allow=["own_networks"])


@pytest.mark.parametrize(
    "key", ["../../x", "a/b", "a\\b", "", ".", "..", ".x", "a b", "a\nb", "a\x1b[2J", "é", "x" * 101]
)
def test_names_in_paths_are_held_to_a_few_characters(key: str, sent: Path) -> None:
    config = yaml.safe_load((sent / "run" / "config.yaml").read_text())
    config["pair"] = {key: config["pair"]["first"]}
    about = metadata_of(sent) | {"key": key}
    for read in (
        lambda: decode_config(json.dumps(config), "config.yaml"),
        lambda: NetworkMetadata.from_dict(about, "network.pt"),
    ):
        with pytest.raises(UserError, match="cannot be a network's key") as error:
            read()
        assert str(error.value).isprintable()


def test_a_name_of_an_architecture_leads_nowhere(sent: Path) -> None:
    metadata = NetworkMetadata.from_dict(metadata_of(sent) | {"name": "../../x\x1b\0/y"}, "network.pt")
    assert set(metadata.file_stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def test_a_received_dataset_writes_nothing_where_the_file_says(place: Path, refused: Refused) -> None:
    config = yaml.safe_load((place / "run" / "config.yaml").read_text())
    config["dataset"] = {"_target_": "mcl.data.cifar.Cifar10", "root": str(place / "victim")}
    state = checkpoints.load(place / "run" / "checkpoints" / "last.pt")
    (place / "run" / "summary.json").unlink()
    (place / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    (place / "run" / "checkpoints" / "step-4.pt").unlink()
    checkpoints.save(place / "run" / "checkpoints" / "last.pt", {**state, "config": config, "classes": ["a"] * 10})
    refused("evaluate", "run")
    assert not (place / "victim").exists()
