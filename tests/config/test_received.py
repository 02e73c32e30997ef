"""Received configurations: only plain data is accepted, and every reader of files is listed."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mcl.config.instantiate import build
from mcl.errors import UserError
from mcl.runs.received import received, received_run
from mcl.runs.stored_config import plain

ROOT = Path(__file__).resolve().parents[2]
READS = ("load", "loads", "safe_load", "create", "Unpickler")
MODULES = ("torch", "json", "yaml", "pickle", "OmegaConf", "np", "tomllib")
OPENS = ("ZipFile", "safe_open", "load_file", "InferenceSession")  # of whatever module

THROUGH_THE_DOOR = {  # files whose readers meet configurations that somebody may have sent
    "mcl/runs/stored_config.py",  # config.yaml
    "mcl/runs/checkpoints.py",
    "mcl/deploy/metadata.py",  # of exported files
}
NO_RECEIVED_CONFIGURATION = {
    "mcl/benchmarking/isolated.py": "what a process of this benchmark answers",
    "mcl/benchmarking/measure.py": "what the benchmark asks of its own process",
    "mcl/commands/import_official.py": "official checkpoints: tensors and numbers alone; the configuration is composed",
    "mcl/config/loader.py": "compositions of this process",
    "mcl/config/build_network.py": "conf/",
    "mcl/data/cifar.py": "images, by an unpickler that knows arrays alone",
    "mcl/data/folder.py": "the cache",
    "mcl/data/imagenet.py": "the cache",
    "mcl/deploy/bundle.py": "only writes",
    "mcl/deploy/formats.py": "tensors; what is beside them goes to mcl/deploy/metadata.py",
    "mcl/deploy/onnx_file.py": "a graph; what is beside it goes to mcl/deploy/metadata.py",
    "mcl/deploy/run_source.py": "bytes of a bundle",
    "mcl/launching/probe.py": "what a process of this launcher answers",
    "mcl/launching/attempt.py": "what a job of this launcher returned",
    "mcl/networks/torchvision.py": "tensors",
    "mcl/studies/study.py": "a study, which is a list of commands that the user starts",
    "mcl/runs/evaluation_record.py": "what an evaluation was of",
    "mcl/runs/metrics_file.py": "metrics",
    "mcl/runs/imported.py": "where imported networks came from",
    "mcl/runs/summary.py": "a summary or a failure",
}


def readers(source: str) -> Iterator[str]:
    """Return the calls in a module that read a file format which can hold a configuration."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call | ast.ClassDef):
            for part in [node.func] if isinstance(node, ast.Call) else node.bases:
                name = ast.unparse(part)
                module, _, function = name.rpartition(".")
                if function in OPENS or (function in READS and module in MODULES):
                    yield name


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)",
        "json.loads(text)",
        "yaml.safe_load(text)",
        "OmegaConf.load(path)",
        "OmegaConf.create(text)",
        "zipfile.ZipFile(path)",
        "safe_open(path, framework='pt')",
        "class Reader(pickle.Unpickler): ...",
    ],
)
def test_file_readers_are_recognised(code: str) -> None:
    assert list(readers(code))


def test_every_reader_of_files_is_known() -> None:
    """For a new reader: pass its configuration through `mcl.runs.received`, then list its file here."""
    files = [*(ROOT / "mcl").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py"), *ROOT.glob("*.py")]
    actual = {file.relative_to(ROOT).as_posix() for file in files if list(readers(file.read_text()))}
    assert actual == THROUGH_THE_DOOR | NO_RECEIVED_CONFIGURATION.keys()


@pytest.mark.parametrize("file", sorted(THROUGH_THE_DOOR))
def test_readers_of_received_configurations_call_received_run(file: str) -> None:
    tree = ast.walk(ast.parse((ROOT / file).read_text()))
    assert {"received", "received_run"} & {ast.unparse(node.func) for node in tree if isinstance(node, ast.Call)}


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"a": "${b}"}, "a="),
        ({"a": [{"b": "\\${c}"}]}, r"a\.0\.b="),
        ({"a": {"x${b}": 1}}, "a has a key"),
        ({"${a}": 1}, "the top has a key"),
        ({"a": ("x", ["${"])}, r"a\.1\.0="),
    ],
)
def test_interpolations_are_refused_everywhere(config: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError, match=rf"^sent\.yaml: {place}.* holds an interpolation"):
        received(config, "sent.yaml")


@pytest.mark.parametrize("value", [b"x", Path("x"), torch.zeros(1), {1, 2}, object])
def test_data_other_than_plain_values_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"sent\.yaml: a\.0 is of type"):
        received({"a": [value]}, "sent.yaml")
    with pytest.raises(UserError, match=r"sent\.yaml: "):
        received([value], "sent.yaml")


def test_message_is_one_line_without_control_characters() -> None:
    with pytest.raises(UserError) as refused:
        received({"a": "\x1b[2J\n" + "${b}" * 100}, "sent.yaml")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 200


def test_plain_data_comes_out_as_it_was_and_is_a_copy() -> None:
    config: dict[str, Any] = {"pair": {"first": {"a": [1, 2.5, None, True, "$x {y}"]}}, "dataset": {1: {}}}
    received = received_run(config, "config.yaml")
    assert received == config
    assert received["pair"]["first"]["a"] is not config["pair"]["first"]["a"]


@pytest.mark.parametrize("text", ["\\${lr}", "\\\\\\${lr}"])
def test_nothing_is_left_to_resolve_when_a_node_is_built(text: str) -> None:
    node = OmegaConf.create(
        {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1, "device": text, "lr": 1}
    )
    with pytest.raises(UserError, match=r"net\.device=.*still holds"):
        build(node, path="net")
    with pytest.raises(UserError, match=r"still holds"):
        plain(node)


def test_what_an_interpolation_makes_is_checked_before_it_is_built(tmp_path: Path) -> None:
    interpolation = "${oc.create:{_target_:logging.FileHandler,filename:" + str(tmp_path / "canary") + "}}"
    for node in ({"device": interpolation}, OmegaConf.create({"device": interpolation})):
        node.update({"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1})
        with pytest.raises(UserError, match=r"net\.device"):
            build(node, path="net")
    assert not list(tmp_path.iterdir())
