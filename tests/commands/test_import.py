"""``python -m mcl import``: run folders from official checkpoints, with the same outputs."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from support.golden_rule import filled, images
from torch import Tensor

from mcl.__main__ import main
from mcl.config.conf_folder import conf_folder
from mcl.config.official_names import our_name
from mcl.deploy.model_card import model_card
from mcl.deploy.saved_run import SavedRun
from mcl.runs import checkpoints
from mcl.training.setup import build_cohort

GOLDEN = Path(__file__).parents[1] / "golden" / "networks"
SHAPES: dict[str, dict[str, list[int]]] = json.loads(gzip.decompress((GOLDEN / "keys.json.gz").read_bytes()))
PAIRS = sorted(file.stem for file in GOLDEN.glob("*.npz"))
QUICK = {f"lmcl_{name}_cifar" for name in ("resnet32", "wrn_16_2", "ShuffleNetV2_05x", "res32_res110")}
QUICK |= {"lmcl_ShuffleNetV2_1x_imagenet"}


def official_state(name: str) -> dict[str, Tensor]:
    """Return official networks in float64, filled by the rule of the golden arrays."""
    return {key: filled("official-", key, shape) for key, shape in SHAPES[name].items()}


def baseline_state() -> dict[str, Tensor]:
    """Return one network of ``lmcl_resnet32_cifar`` without its branches, as the official baseline script saves it."""
    front = "module_list.0.backbone."
    state = official_state("lmcl_resnet32_cifar")
    return {key.removeprefix(front): tensor for key, tensor in state.items() if key.startswith(front)}


@pytest.fixture
def import_run(tmp_path: Path) -> Callable[..., Path]:
    """``imported(state, "resnet32", ...)``: a run folder made by the command from an official file with this state."""

    def make(state: dict[str, Tensor], pair: str, *more: str) -> Path:
        file, run = tmp_path / "official.pth.tar", tmp_path / "imported"
        torch.save({"net": state, "acc": 0.7091, "epoch": 299}, file)
        assert main(["import", str(file), "--pair", pair, "--out", str(run), "--dataset", "cifar10", *more]) == 0
        file.unlink()  # the folder stands by itself
        return run

    return make


def outputs_of(run: Path, size: int = 32) -> dict[str, np.ndarray]:
    """Return features and logits of the golden images by golden name, computed in float64 from a run folder."""
    config = OmegaConf.load(run / "config.yaml")
    assert isinstance(config, DictConfig)
    saved = checkpoints.load(run / "checkpoints" / "last.pt")
    branched = config.loss._target_.endswith("DeepSupervision")
    cohort = build_cohort(config, len(saved["classes"]), 3, branched=branched).double().eval()
    cohort.load_state_dict({key.removeprefix("cohort."): tensor for key, tensor in saved["learner"].items()})
    with torch.no_grad():
        outputs = cohort(images("official-input", (4, 3, size, size)))
    named = {}
    for i, output in enumerate(outputs):
        for k, (features, logits) in enumerate(zip(output.features, output.logits, strict=True)):
            named |= {f"embedding.{i}.{k}": features.numpy(), f"logits.{i}.{k}": logits.numpy()}
    return named


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in PAIRS]
)
def test_imported_pair_equals_the_official_one(name: str, import_run: Callable[..., Path]) -> None:
    run = import_run(official_state(name), name)
    outputs, golden = outputs_of(run, size=64 if name.endswith("imagenet") else 32), np.load(GOLDEN / f"{name}.npz")
    assert set(outputs) == set(golden.files)
    for key, array in outputs.items():
        assert np.linalg.norm(array - golden[key]) < 1e-9 * np.linalg.norm(golden[key]), key


def test_imported_baseline_equals_the_official_one(import_run: Callable[..., Path]) -> None:
    state = {f"module.{key}": tensor for key, tensor in baseline_state().items()}  # saved inside DataParallel
    outputs, golden = outputs_of(import_run(state, "resnet32")), np.load(GOLDEN / "lmcl_resnet32_cifar.npz")
    assert set(outputs) == {"embedding.0.0", "logits.0.0"}
    for output_name, golden_name in (("embedding.0.0", "embedding.0.2"), ("logits.0.0", "logits.0.2")):
        assert np.linalg.norm(outputs[output_name] - golden[golden_name]) < 1e-9 * np.linalg.norm(golden[golden_name])


def test_imagenet_checkpoint_is_imported_without_its_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    front, file, run = "module_list.0.backbone.", tmp_path / "official.pth.tar", tmp_path / "run"
    shapes = {key: shape for key, shape in SHAPES["lmcl_ShuffleNetV2_1x_imagenet"].items() if key.startswith(front)}
    shapes |= {f"{front}linear.weight": [1000, 1024], f"{front}linear.bias": [1000]}
    state = {f"module.{key.removeprefix(front)}": filled("official-", key, shape) for key, shape in shapes.items()}
    torch.save({"net": state, "acc": np.float64(0.6425), "epoch": np.int64(99)}, file)
    assert main(["import", str(file), "--pair", "ShuffleNetV2_1x_imagenet", "--out", str(run)]) == 0
    assert "acc according to the checkpoint: 0.6425" in capsys.readouterr().out
    saved = checkpoints.load(run / "checkpoints" / "last.pt")
    assert saved["classes"][:2] == ["tench", "goldfish"]
    assert saved["preprocessing"] == {
        "channels": 3,
        "image_size": 224,
        "resize": 256,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    Image.new("RGB", (300, 280), (90, 120, 30)).save(tmp_path / "one.jpg")
    assert main(["predict", str(run), str(tmp_path / "one.jpg")]) == 0
    assert main(["evaluate", str(run)]) == 1
    assert "dataset.root is not set" in capsys.readouterr().err


def test_import_needs_no_batch_of_images(import_run: Callable[..., Path]) -> None:
    import_run(baseline_state(), "resnet32", "dataset=synthetic", "dataset.train_per_class=1", "trainer.batch_size=128")


def test_card_does_not_claim_training_by_this_project(import_run: Callable[..., Path]) -> None:
    run = import_run(baseline_state(), "resnet32")
    card = model_card(SavedRun(run), "last", {"first": "first.pt"})
    for part in (
        "imported from official.pth.tar",
        "not trained by mcl",
        "states acc 0.7091, epoch 299",
        "for Cifar10,",
    ):
        assert part in card
    for claim in ("trained in one run", "SGD", "Augmentation", "flip", "Seed", "steps taken"):
        assert claim not in card
    saved = checkpoints.load(run / "checkpoints" / "last.pt")
    trained = {key: value for key, value in saved.items() if key != "version"}
    checkpoints.save(run / "checkpoints" / "last.pt", {**trained, "data": "a1"})  # as resume=never leaves it
    assert "trained in one run" in model_card(SavedRun(run), "last", {"first": "first.pt"})


def test_imported_folder_records_only_known_facts(
    import_run: Callable[..., Path], composed: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    run = import_run(baseline_state(), "resnet32_cifar", "seed=3")
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "imported.json"]
    record = json.loads((run / "imported.json").read_text())
    assert (record["file"], record["acc"], record["epoch"]) == ("official.pth.tar", 0.7091, 299)
    assert len(record["sha256"]) == 64
    expected = composed("dataset=cifar10", "pair=single", "network@pair.first=resnet32", "loss=independent", "seed=3")
    config = OmegaConf.load(run / "config.yaml")
    assert {key: config[key] for key in ("dataset", "pair", "loss", "seed")} == {
        key: expected[key] for key in ("dataset", "pair", "loss", "seed")
    }
    shown = capsys.readouterr().out
    assert "acc according to the checkpoint: 0.7091" in shown
    assert f"init_from={run}" in shown


def test_training_starts_from_imported_networks(import_run: Callable[..., Path], command: Callable) -> None:
    small = ["dataset=synthetic", "dataset.image_size=8", "dataset.train_per_class=1", "dataset.test_per_class=1"]
    small += ["sampler=shuffle", "trainer.batch_size=10"]
    run = import_run({key: tensor.float() for key, tensor in baseline_state().items()}, "resnet32", *small)
    choices = ["pair=single", "network@pair.first=resnet32", "loss=independent", f"init_from={run}"]
    result = command(*small, *choices, "hydra.run.dir=trained", "trainer.max_steps=1", "optimizer.lr=0")
    assert result.status == 0, result.err
    weight = "cohort.networks.first.backbone.stem.0.weight"
    before, after = (checkpoints.load(place / "checkpoints" / "last.pt") for place in (run, Path("trained")))
    assert torch.equal(before["learner"][weight], after["learner"][weight])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["import", *map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_folder_in_use_is_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").touch()
    assert "exists already" in refusal(capsys, tmp_path / "no", "--pair", "resnet32", "--out", tmp_path / "run")


class Dangerous:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"net": Dangerous()}, "could run code"),
        ({"state_dict": {}, "epoch": 1}, "under 'net'; its keys are state_dict, epoch."),
        ({"net": {"weight": 1.0}}, "not an official checkpoint"),
        ([], "not an official checkpoint"),
    ],
)
def test_other_files_are_refused_and_no_code_is_run(
    content, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "file.pth.tar")
    assert message in refusal(capsys, "file.pth.tar", "--pair", "resnet32", "--out", "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.pth.tar"]


@pytest.mark.parametrize(
    ("pair", "more", "message"),
    [
        ("resnet32-resnet110", (), "--pair resnet32-resnet110: the checkpoint holds one network;"),
        ("resnet31", (), "Did you mean 'resnet32'"),
        ("resnet20", (), "Give the networks that it was trained as with --pair."),
        ("resnet32", ("--dataset", "cifar100"), "--dataset for the classes."),
        ("resnet32", ("dataset.nope=1",), "dataset.nope: there is no such option"),
        ("resnet32", ("dataset=cifar1",), "Did you mean 'cifar10"),
    ],
)
def test_mismatched_choices_are_refused_before_a_folder_is_created(
    pair: str, more: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"net": baseline_state()}, tmp_path / "file")
    out = tmp_path / "run"
    assert message in refusal(capsys, tmp_path / "file", "--pair", pair, "--out", out, "--dataset", "cifar10", *more)
    assert not out.exists()


def test_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no.pth.tar: No such file" in refusal(
        capsys, tmp_path / "no.pth.tar", "--pair", "resnet32", "--out", tmp_path / "run"
    )


NETWORKS = (
    "resnet32_cifar resnet56_cifar resnet110_cifar wrn_16_2_cifar wrn_40_2_cifar wrn_28_4_cifar ShuffleNetV2_05x_cifar"
    " ShuffleNetV2_1x_cifar hcgnet_A1_cifar hcgnet_A2_cifar"
)
PAIRS = (
    "lmcl_res32_res110_cifar lmcl_res56_res110_cifar lmcl_wrn_16_2_wrn_40_2_cifar lmcl_wrn_40_2_wrn_28_4_cifar"
    " lmcl_res56_wrn_40_2_cifar lmcl_res110_wrn_28_4_cifar lmcl_shufflev2_res110_cifar lmcl_shufflev2_wrn_40_2_cifar"
)


@pytest.mark.parametrize("official", NETWORKS.split())
def test_every_official_network_has_a_config_file(official: str) -> None:
    assert our_name(official) == our_name(f"lmcl_{official}")
    assert (conf_folder() / "network" / f"{our_name(official)}.yaml").is_file()


@pytest.mark.parametrize("official", [*PAIRS.split(), *(f"lmcl_{name}" for name in NETWORKS.split())])
def test_official_pair_name_suggests_ours(official: str, command) -> None:
    result = command(f"pair={official}")
    assert result.status == 1
    assert result.err.strip().endswith(f"here this pair is pair={our_name(official)}.")
    assert (conf_folder() / "pair" / f"{our_name(official)}.yaml").is_file()


def test_official_baseline_name_suggests_a_single_network(command) -> None:
    assert "pair=single network@pair.first=resnet32" in command("pair=resnet32_cifar").err
    assert "here this network is resnet32." in command("network@pair.second=resnet32_cifar").err


def test_other_names_are_not_taken_for_official_ones(command) -> None:
    assert our_name("resnet32") is None
    assert "Did you mean 'resnet32'" in command("pair=resnet31").err
