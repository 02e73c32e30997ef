"""Received files: only networks are built from their configuration, whatever it contains."""

import hashlib
import inspect
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from support.small_runs import META, SMALL, Outcome

import mcl
from mcl.__main__ import main
from mcl.config.conf_folder import conf_folder
from mcl.config.targets import resolve
from mcl.deploy.detailed_evaluation import evaluate_run
from mcl.deploy.kinds import CLASSES, check_classes
from mcl.deploy.metadata import NetworkMetadata
from mcl.deploy.run_source import HASHES
from mcl.deploy.saved_run import SavedRun, build_kind
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.cohort import Cohort
from mcl.runs import checkpoints
from mcl.runs.run_folder import RunFolder
from mcl.training.initial_weights import start_from

CANARY = "canary"  # a file that the payload would make
PAYLOAD = "${oc.create:{_target_:logging.FileHandler,filename:" + CANARY + "}}"
Config = dict[str, Any]


@pytest.fixture
def run(undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))


def plainly(network: Config) -> None:
    network["name"] = PAYLOAD


def escaped(network: Config) -> None:
    network["name"] = f"\\{PAYLOAD}"


def escaped_twice(network: Config) -> None:
    network["name"] = f"\\\\\\{PAYLOAD}"


def nested(network: Config) -> None:
    network["name"] = "${oc.create:{a:" + PAYLOAD + "}}"


def as_text(network: Config) -> None:
    network["name"] = "${oc.create:'" + PAYLOAD + "'}"


def as_a_key(network: Config) -> None:
    network[PAYLOAD] = 1


def in_a_list(network: Config) -> None:
    network["depths"] = [1, [{"deep": PAYLOAD}]]


def in_a_target(network: Config) -> None:
    network["_target_"] = "${oc.create:logging.FileHandler}"
    network["filename"] = CANARY


WAYS = [plainly, escaped, escaped_twice, nested, as_text, as_a_key, in_a_list, in_a_target]


def altered_config(run: Path, alter: Callable[[Config], None]) -> Config:
    config = yaml.safe_load((run / "config.yaml").read_text())
    alter(config["pair"]["first"])
    assert isinstance(config, dict)
    return config


def with_config_yaml(run: Path, alter: Callable[[Config], None]) -> Path:
    (run / "config.yaml").write_text(yaml.safe_dump(altered_config(run, alter)))
    return run


def with_checkpoint(run: Path, alter: Callable[[Config], None]) -> Path:
    config = altered_config(run, alter)
    for file in (run / "checkpoints").iterdir():
        checkpoints.save(file, {**checkpoints.load(file), "config": config})
    return run


def with_checkpoint_alone(run: Path, alter: Callable[[Config], None]) -> Path:
    with_checkpoint(run, alter)
    (run / "config.yaml").unlink()
    return run


def as_bundle(run: Path, alter: Callable[[Config], None]) -> Path:
    assert main(["bundle", str(run), "--out", "good.zip"]) == 0
    with zipfile.ZipFile("good.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != HASHES}
    files["config.yaml"] = yaml.safe_dump(altered_config(run, alter)).encode()
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    with zipfile.ZipFile("evil.zip", "w") as archive:
        for name, content in {**files, HASHES: sums.encode()}.items():
            archive.writestr(name, content)
    return Path("evil.zip")


def about(run: Path, alter: Callable[[Config], None]) -> Config:
    attributes = mcl.load(run).__dict__
    return {
        "name": "resnet8",
        "key": "first",
        "architecture": altered_config(run, alter)["pair"]["first"],
        "classes": list(attributes["classes"]),
        "preprocessing": attributes["preprocessing"].as_dict(),
        "weights": "last",
        "step": 10,
    }


def as_json(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in values.items()}


def as_torch_file(run: Path, alter: Callable[[Config], None]) -> Path:
    checkpoints.save(Path("evil.pt"), {"network": mcl.load(run).state_dict(), "about": about(run, alter)})
    return Path("evil.pt")


def as_safetensors(run: Path, alter: Callable[[Config], None]) -> Path:
    save_file(mcl.load(run).state_dict(), "evil.safetensors", metadata=as_json(about(run, alter)))
    return Path("evil.safetensors")


def as_onnx(run: Path, alter: Callable[[Config], None]) -> Path:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    inputs, outputs = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in ("images", "logits")
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["images"], ["logits"])], "graph", [inputs], [outputs]
    )
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    onnx.helper.set_model_props(model, as_json(about(run, alter)))
    Path("evil.onnx").write_bytes(model.SerializeToString())
    return Path("evil.onnx")


FILES = [with_config_yaml, with_checkpoint, with_checkpoint_alone, as_bundle, as_torch_file, as_safetensors, as_onnx]


@pytest.mark.parametrize("alter", WAYS)
@pytest.mark.parametrize("written", FILES)
def test_interpolation_in_a_received_file_is_refused_and_never_resolved(
    written: Callable[..., Path], alter: Callable[[Config], None], run: Path
) -> None:
    place = written(run, alter)
    with pytest.raises(UserError) as refused:
        mcl.load(place)
    assert not Path(CANARY).exists()
    assert "interpolation" in str(refused.value)
    assert "architecture" in str(refused.value) or "pair.first" in str(refused.value)
    if place.suffix in ("", ".zip"):
        with pytest.raises(UserError, match="interpolation"):
            evaluate_run(SavedRun(place))
        assert not Path(CANARY).exists()


@pytest.mark.parametrize("alter", WAYS)
def test_interpolation_in_a_checkpoint_is_refused_by_training_too(
    alter: Callable[[Config], None], run: Path, composed: Callable[..., DictConfig]
) -> None:
    with_checkpoint(run, alter)
    with pytest.raises(UserError, match=r"last\.pt: config: pair\.first"):
        start_from(run, Cohort.__new__(Cohort))
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match=r"last\.pt: config: pair\.first"):
        RunFolder(run, composed(*SMALL, *META))
    assert not Path(CANARY).exists()


DOWNLOAD = {"_target_": "mcl.data.published.download", "url": "http://localhost/x", "folder": "here", "md5": ""}
INSTEAD = {  # a place for an argument -> what uses it
    "pair.first.depths": mcl.load,
    "dataset.augmentation": lambda place: SavedRun(place).dataset,
    "loss.matching": lambda place: SavedRun(place).learner(),
    "trainer.epochs": lambda place: evaluate_run(SavedRun(place)),
}


@pytest.mark.parametrize("target", ["mcl.data.published.download", "mcl.data.digits.Digits"])
@pytest.mark.parametrize("place", INSTEAD)
def test_received_file_builds_no_function_and_no_class_of_another_kind_as_an_argument(
    place: str, target: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.utils.download_url", pytest.fail)
    group, _, option = place.rpartition(".")
    config = OmegaConf.create(yaml.safe_load((run / "config.yaml").read_text()))
    OmegaConf.update(config, place, DOWNLOAD if target == DOWNLOAD["_target_"] else {"_target_": target}, merge=False)
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config))
    for file in (run / "checkpoints").iterdir():
        checkpoints.save(file, {**checkpoints.load(file), "config": OmegaConf.to_container(config)})
    with pytest.raises(UserError, match=rf"{group}\.{option}\._target_={target}: a received file may build"):
        INSTEAD[place](run)


def test_transforms_and_parts_of_a_loss_may_be_named_in_their_places() -> None:
    check_classes(
        {
            "dataset": {
                "_target_": "mcl.data.imagenet.ImageNet",
                "transform": [
                    {"_target_": f"torchvision.transforms.{name}", "size": 8} for name in ("v2.Resize", "Resize")
                ],
            },
            "loss": {
                "_target_": "mcl.losses.lmcl.LMCL",
                "contrast": {"_target_": "mcl.losses.contrast_sources.BankContrast", "_partial_": True},
                "matching": {"_target_": "mcl.losses.matching.LayerMatching"},
                "meta": {"_target_": "mcl.losses.base.MetaSchedule"},
            },
        }
    )


def test_every_class_of_the_table_exists_and_every_class_of_conf_is_in_it() -> None:
    for place, classes in CLASSES.items():
        for name in classes:
            assert inspect.isclass(resolve(name, path=place)), name
    shipped = {
        name
        for file in conf_folder().rglob("*.yaml")
        for name in re.findall(r"^ *(?:- )?_target_: ((?:mcl|torch|torchvision)\.\S+)", file.read_text(), re.MULTILINE)
        if not name.startswith("mcl.config.")  # Hydra's own part
    }
    assert shipped <= set().union(*CLASSES.values())


def test_functions_of_a_module_that_the_caller_allows_are_built(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "makes.py").write_text(
        "from mcl.networks.resnet import ResNet\n\ndef widths():\n    return [1, 1, 1]\n\n"
        "def net(**options):\n    return ResNet(**options)\n"
    )
    monkeypatch.syspath_prepend(run)
    node = yaml.safe_load((run / "config.yaml").read_text())["pair"]["first"] | {"_target_": "makes.net"}
    assert isinstance(build_kind(Backbone, node, path="pair.first", allow=["makes"], num_classes=4), Backbone)
    other = {**node, "depths": DOWNLOAD}
    with pytest.raises(UserError, match=r"pair\.first\.depths\._target_=mcl\.data\.published\.download"):
        build_kind(Backbone, other, path="pair.first", allow=["makes"], num_classes=4)


@pytest.mark.parametrize("key", ["../../escaped", "a/b", "", "a b", "a\nb", "é"])
def test_network_key_that_cannot_be_part_of_a_file_name_is_refused(key: str, run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["pair"] = {key: config["pair"]["first"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"config\.yaml: pair: .*cannot be a network's key"):
        mcl.load(run)
    with pytest.raises(UserError, match="cannot be a network's key"):
        NetworkMetadata.from_dict({"name": "resnet8", "key": key}, "evil.pt")


def test_interpolations_that_the_user_types_are_resolved(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_DEVICE", "cpu")
    assert (
        main(
            ["evaluate", str(run), "trainer.device=${oc.env:MY_DEVICE}", "trainer.log_every=${trainer.max_checkpoints}"]
        )
        == 0
    )
    assert SavedRun(run, ["seed=${trainer.max_checkpoints}"]).config.seed == 2
    with pytest.raises(UserError, match=r"pair\.first\.name=.*still holds"):
        SavedRun(run, ["pair.first.name='\\${seed}'"])
