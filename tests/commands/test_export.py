"""``mcl.load``, ``python -m mcl export`` and ``predict``: deploy trained networks."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.small_runs import Outcome

import mcl
from mcl.__main__ import main
from mcl.config.build_network import build_network
from mcl.data.preprocessing import Preprocessing
from mcl.deploy.export import export_networks, largest_difference
from mcl.deploy.formats import FORMATS
from mcl.deploy.metadata import NetworkMetadata
from mcl.deploy.model_card import model_card
from mcl.deploy.saved_run import SavedRun, Weights
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.runs import checkpoints

CLASSES = ("class0", "class1", "class2", "class3")
SUFFIXES = {"torch": "pt", "safetensors": "safetensors", "onnx": "onnx"}


@pytest.fixture
def run(undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(15, 20)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@torch.no_grad()
def answers(network: Any, batch: int = 3) -> torch.Tensor:
    images = torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    logits: torch.Tensor = network(images)
    return logits


def test_loaded_network_is_the_plain_backbone(undisturbed: Outcome, image: Path) -> None:
    network = mcl.load(undisturbed.folder, network=1)
    assert isinstance(network, Backbone)
    assert not network.training
    prefix = "cohort.networks.second.backbone."
    expected = {name.removeprefix(prefix): t for name, t in undisturbed.state["learner"].items() if prefix in name}
    assert network.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    assert len(network.classes) == 4
    assert network.preprocessing(image).shape == (1, 1, 8, 8)
    assert answers(network).shape == (3, 4)


def test_networks_are_chosen_by_number_key_or_name(undisturbed: Outcome) -> None:
    run = SavedRun(undisturbed.folder)
    assert [run.key(network) for network in (0, 1, "first", "second", "1")] == ["first", "second", "first"] + [
        "second"
    ] * 2
    for wrong in (2, -1, "third", "resnet8"):
        with pytest.raises(UserError, match=r"choose 0 or first \(resnet8\), 1 or second \(resnet8\)"):
            run.key(wrong)


@pytest.mark.parametrize("form", list(SUFFIXES))
def test_exported_file_equals_the_network(
    form: str, run: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    assert main(["export", str(run), "--format", form, "--network", "second"]) == 0
    output = capsys.readouterr().out
    assert "same labels" in output
    assert ("ms in onnxruntime" in output) == (form == "onnx")
    file = run / "export" / f"second-resnet8.{SUFFIXES[form]}"
    network, again = mcl.load(run, "second"), mcl.load(file)
    for batch in (1, 4, 9):
        torch.testing.assert_close(answers(again, batch), answers(network, batch), atol=1e-4, rtol=1e-4)
    assert again.classes == network.classes
    assert again.preprocessing == network.preprocessing
    card = (run / "export" / "README.md").read_text()
    for part in ("# resnet8", "| parameters | multiply-adds |", "533,632", "Synthetic", "SGD: lr 0.1", file.name):
        assert part in card
    assert main(["predict", str(file), str(image), "--top", "2"]) == 0
    from_file = capsys.readouterr().out
    assert main(["predict", str(run), str(image), "--network", "1", "--top", "2"]) == 0
    assert capsys.readouterr().out == from_file
    assert from_file.count("%") == 2


def card_of(run: Path, weights: Weights = "last", **changed: Any) -> str:
    """Return the model card of a run after changes to its checkpoint; a value of None removes the key."""
    last = run / "checkpoints" / "last.pt"
    state = {**checkpoints.load(last), **changed}
    checkpoints.save(last, {name: value for name, value in state.items() if value is not None and name != "version"})
    return model_card(SavedRun(run), weights, {"first": "first.pt"})


def test_card_has_the_accuracy_of_its_weights_or_none(run: Path) -> None:
    (accuracy,) = [f"{n['top1_last']:.2f}" for n in json.loads((run / "summary.json").read_text())["networks"][:1]]
    card = card_of(run)
    assert f"| first | resnet8 | {accuracy} |" in card
    assert "Training had not ended" not in card
    (run / "summary.json").unlink()
    card = card_of(run, step=7, evaluated_step=5)
    assert "Training had not ended: the checkpoint is that of step 7." in card
    assert "these weights are of step 7, and the last evaluation was after step 5" in card
    assert "| top-1 |" not in card


def test_card_has_the_accuracy_of_the_exported_networks_alone(run: Path) -> None:
    assert "| second |" not in card_of(run)
    both = model_card(SavedRun(run), "last", {"first": "first.pt", "second": "second.pt"})
    assert "| second | resnet8 |" in both


def test_card_names_the_split_that_chose_the_best_epoch(run: Path) -> None:
    assert "chosen" not in card_of(run)
    assert "chosen on these same test images" in card_of(run, "best")
    results = checkpoints.load(run / "checkpoints" / "last.pt")["results"]
    (run / "summary.json").unlink()
    validated = {**results, "last_validation": {"first/backbone/top1": 50.0}}
    assert "chosen on the validation images" in card_of(run, "best", results=validated)


def test_card_names_the_code_that_trained_the_networks(run: Path) -> None:
    code = {"version": "0.0.7", "commit": "0123456789abcdef", "dirty": True}
    assert "trained in one run by mcl 0.0.7, commit 0123456789 with uncommitted changes." in card_of(run, code=code)
    assert "trained in one run. " in card_of(run, code=None)


def test_export_with_other_logits_is_detected(undisturbed: Outcome, tmp_path: Path) -> None:
    one, other = (mcl.load(undisturbed.folder, network) for network in (0, 1))
    assert largest_difference(one, one, (1, 8, 8), tmp_path / "file") == 0
    with pytest.raises(UserError, match="computes other logits than PyTorch"):
        largest_difference(one, other, (1, 8, 8), tmp_path / "file")


def test_rounding_grows_with_the_largest_logit(tmp_path: Path) -> None:
    class Logits(torch.nn.Module):
        def __init__(self, small: float, large: float):
            super().__init__()
            self.values = torch.tensor([small, large])

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.values.expand(len(images), 2)

    assert largest_difference(Logits(0.0, 1e4), Logits(0.05, 1e4), (1, 8, 8), tmp_path) == pytest.approx(0.05)
    for other in (Logits(0.0, 1.1e4), Logits(float("nan"), 1e4), Logits(2.0, 1e4)):
        with pytest.raises(UserError, match="computes other logits than PyTorch"):
            largest_difference(Logits(0.0, 1e4), other, (1, 8, 8), tmp_path)


def test_a_readme_that_is_not_a_card_is_not_replaced(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("README.md").write_text("# My project\n\nAll that I know.\n")
    assert main(["export", str(run), "--format", "torch", "--out", "."]) == 1
    assert "README.md is not the card of an export, which would replace it. Give another" in capsys.readouterr().err
    assert (Path("README.md").read_text(), list(Path().glob("*.pt"))) == ("# My project\n\nAll that I know.\n", [])
    for _ in range(2):
        assert main(["export", str(run), "--format", "torch", "--out", "out"]) == 0


def test_exports_of_two_runs_do_not_share_a_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--format", "torch", "--out", "out"]) == 0
    card = Path("out/README.md")
    own = str(SavedRun(run).hash)
    card.write_text(card.read_text().replace(own, "0123456789"))
    before = {file.name: file.stat().st_mtime_ns for file in Path("out").iterdir()}
    assert main(["export", str(run), "--format", "safetensors", "--out", "out"]) == 1
    assert "out holds the export of another run, 0123456789. Give another folder" in capsys.readouterr().err
    assert {file.name: file.stat().st_mtime_ns for file in Path("out").iterdir()} == before
    card.write_text(card.read_text().replace("The hash of its settings, which names its folder, is 0123456789.", ""))
    assert main(["export", str(run), "--format", "safetensors", "--out", "out"]) == 0  # beside an older card
    assert own in card.read_text()


@pytest.mark.parametrize("refused", [["--network", "third"], ["--names", "torchvision"]])
def test_an_export_that_is_refused_leaves_no_folder(refused: list[str], run: Path) -> None:
    assert main(["export", str(run), "--format", "torch", "--out", "out", *refused]) == 1
    assert not Path("out").exists()


def test_best_weights_are_those_of_the_best_epoch(undisturbed: Outcome) -> None:
    best = undisturbed.state["best"]["first"]
    network = mcl.load(undisturbed.folder, weights="best")
    assert all(torch.equal(tensor, best[name]) for name, tensor in network.state_dict().items())


def test_lost_metrics_do_not_change_the_exported_weights(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "metrics.jsonl").write_text("")
    assert SavedRun(run).step == 10
    assert caplog.text == ""
    (run / "checkpoints" / "last.pt").write_bytes(b"torn")
    assert SavedRun(run, allow_older=True).step == 5
    assert "Resuming from step-5.pt instead" in caplog.text


@pytest.mark.parametrize("damage", [lambda last: last.write_bytes(b"torn"), lambda last: last.unlink()])
def test_older_weights_are_taken_only_when_asked(
    damage: Callable[[Path], None], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run / "checkpoints" / "last.pt")
    for command in (["export", "--format", "torch"], ["evaluate"], ["bundle"], ["predict", "image.png"]):
        assert main([command[0], str(run), *command[1:]]) == 1
        assert "--allow-older" in capsys.readouterr().err
    with pytest.raises(UserError, match="allow_older=True"):
        mcl.load(run)
    assert not (run / "export").exists()
    assert main(["export", str(run), "--format", "torch", "--allow-older"]) == 0
    assert "step 5" in (run / "export" / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [("classes", ["a"]), ("classes", list("abcde")), ("preprocessing", {"image_size": 12}), ("preprocessing", {})],
)
def test_metadata_that_do_not_fit_the_graph_are_one_line(
    name: str, value: Any, run: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    (exported,) = export_networks(SavedRun(run), "onnx", networks=["first"])
    model = onnx.load(exported.path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == name]
    if name == "preprocessing":
        value = json.loads(entry.value) | (value or {"channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3})
    entry.value = json.dumps(value)
    onnx.save(model, exported.path)
    capsys.readouterr()
    for command in (["predict", str(exported.path), str(image)], ["latency", str(exported.path)]):
        assert main(command) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "is damaged or was altered: it does not map images of" in line


def test_a_file_has_no_choice_of_network_or_weights(run: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (exported,) = export_networks(SavedRun(run), "safetensors", networks=["second"])
    predict = ["predict", str(exported.path), str(image)]
    assert main([*predict, "--network", "0"]) == 0
    for option, value, refusal in (
        ("--network", "first", f"network first: {exported.path} holds one network"),
        ("--weights", "best", "only a run has a choice of best weights"),
    ):
        assert main([*predict, option, value]) == 1
        assert refusal in capsys.readouterr().err


def test_weights_have_two_names(run: Path) -> None:
    with pytest.raises(UserError, match=r"weights=bst: expected one of last, best. Did you mean 'best'\?"):
        mcl.load(run, weights="bst")  # type: ignore[arg-type]


def test_export_prints_the_weights_that_it_took(
    small: Callable[..., Any], undisturbed: Outcome, capfd: pytest.CaptureFixture[str]
) -> None:
    def printed(run: Path, *options: str) -> str:
        capfd.readouterr()
        assert main(["export", str(run), "--format", "torch", "--out", "out", *options]) == 0
        return capfd.readouterr().out.splitlines()[-1]

    assert small("run", "loss=independent", "dataset.validation=0.25").status == 0
    first, second = (network["best_epoch"] for network in Outcome("run").summary["networks"])
    one, both = f"best epoch {first}", f"best epoch {first} of first, {second} of second"
    step = Outcome("run").state["step"]
    assert printed(Path("run"), "--network", "first") == f"weights: last (step {step}); {one}: --weights best"
    assert printed(Path("run")) == f"weights: last (step {step}); {both}: --weights best"
    best = ["--weights", "best"]
    assert printed(Path("run"), *best) == f"weights: {both}, chosen on the validation images"
    shutil.rmtree("out")
    assert printed(undisturbed.folder) == "weights: last (step 10)"  # the test images chose: no advice
    assert printed(undisturbed.folder, *best).endswith(", chosen on the test images")


def test_training_exports_the_best_backbones_when_asked(small: Callable[..., Any]) -> None:
    done = small("run", "loss=independent", "trainer.export=safetensors")
    assert done.status == 0, done.err
    assert sorted(path.name for path in Path("run/export").iterdir()) == [
        *("README.md", "first-resnet8-best.safetensors", "second-resnet8-best.safetensors")
    ]
    assert torch.equal(
        answers(mcl.load("run/export/first-resnet8-best.safetensors")), answers(mcl.load("run", weights="best"))
    )


def test_run_that_has_finished_is_exported_when_asked(small: Callable[..., Any]) -> None:
    assert small("run", "loss=independent").status == 0
    done = small("run", "loss=independent", "trainer.export=safetensors")
    assert done.status == 0, done.err
    assert "run/export/first-resnet8-best.safetensors" in done.out
    assert Path("run/export/second-resnet8-best.safetensors").is_file()


def test_missing_export_packages_are_reported_before_training(
    small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcl.extras.find_spec", lambda name: None)
    refused = small("run", "trainer.export=onnx")
    assert refused.status == 1
    assert "pip install 'onnx>=1.17' 'onnxscript>=0.3'" in refused.err
    assert not Path("run").exists()


class Malicious:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


def test_files_that_would_run_code_or_are_damaged_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "system", pytest.fail)
    evil = tmp_path / "evil.pt"
    evil.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(UserError, match=r"evil\.pt"):
        mcl.load(evil)
    evil.write_bytes(pickle.dumps(Malicious()))
    for name in ("last.pt", "step-5.pt"):
        shutil.copy(evil, run / "checkpoints" / name)
    with pytest.raises(UserError, match=r"last\.pt is not a checkpoint"):
        mcl.load(run)
    with pytest.raises(UserError, match="No checkpoint can be used"):
        mcl.load(run, allow_older=True)
    for suffix in SUFFIXES.values():
        if suffix == "onnx":
            pytest.importorskip("onnxruntime")
        broken = tmp_path / f"broken.{suffix}"
        broken.write_bytes(b"nothing of the kind")
        with pytest.raises(UserError, match=r"broken"):
            mcl.load(broken)


def test_exported_file_that_names_other_code_is_refused(undisturbed: Outcome, tmp_path: Path) -> None:
    preprocessing = Preprocessing(1, 8, (0.5,), (0.5,))
    about = NetworkMetadata(
        "resnet8", "first", {"_target_": "os.system", "command": "ls"}, CLASSES, preprocessing, "last", 0
    )
    backbone = mcl.load(undisturbed.folder)
    assert isinstance(backbone, Backbone)
    for form in ("torch", "safetensors"):
        file = tmp_path / f"evil.{SUFFIXES[form]}"
        file.write_bytes(FORMATS[form].encode(backbone, about))
        with pytest.raises(UserError, match=r"os\.system"):
            mcl.load(file)


@pytest.mark.parametrize("command", [["evaluate"], ["export", "--format", "torch"], ["bundle"]])
@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_an_exported_file_is_not_a_run(
    form: str, command: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (exported,) = export_networks(SavedRun(run), form, networks=["first"])
    assert main([command[0], str(exported.path), *command[1:]]) == 1
    error = capsys.readouterr().err
    assert error == (
        f"error: {exported.path} is not a run: give a run folder, a bundle or a release. Exported files (.onnx, .pt,"
        " .safetensors) are for python -m mcl predict and latency.\n"
    )


def test_checkpoint_is_not_accepted_as_an_exported_file(run: Path) -> None:
    with pytest.raises(UserError, match="name its run folder"):
        mcl.load(run / "checkpoints" / "last.pt")


def test_unreadable_images_are_reported_and_the_rest_classified(
    run: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.jpg").write_text("no image")
    assert main(["predict", str(run), "text.jpg", str(image)]) == 1
    captured = capsys.readouterr()
    assert "text.jpg cannot be read" in captured.err
    assert "image.png: " in captured.out
    for place in ("nowhere", "text.jpg"):
        assert main(["predict", place, str(image)]) == 1
        assert place in capsys.readouterr().err


def test_hidden_files_in_a_folder_of_images_are_left_out(
    run: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ("photos/b.png", "photos/a/1.PNG", "photos/.cache/2.png"):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, file)
    Path("photos/._b.png").write_text("no image")
    Path("photos/lost.png").symlink_to("nowhere")
    assert main(["predict", str(run), "photos"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ["photos/a/1.PNG", "photos/b.png"]


def test_folder_that_cannot_be_written_to_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    assert main(["export", str(run), "--format", "torch", "--out", "file"]) == 1
    assert "file is a file, not a folder." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["resnet20", "wrn_16_1", "shufflenetv2_05x", "hcgnet_a1"])
@pytest.mark.slow
def test_every_family_exports_to_onnx(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    network = build_network(name, 10).eval()
    about = NetworkMetadata(
        name, "first", {}, tuple("0123456789"), Preprocessing(3, 32, (0.5,) * 3, (0.25,) * 3), "last", 0
    )
    (tmp_path / "network.onnx").write_bytes(FORMATS["onnx"].encode(network, about))
    assert (
        largest_difference(network, FORMATS["onnx"].read(tmp_path / "network.onnx", ()), (3, 32, 32), tmp_path) < 1e-4
    )


def test_mcl_is_imported_without_torch() -> None:
    code = "import sys, mcl; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(mcl.__file__).parents[1]).returncode == 0


def test_export_prints_the_written_files(undisturbed: Outcome, tmp_path: Path) -> None:
    files = export_networks(SavedRun(undisturbed.folder), "torch", folder=tmp_path)
    assert [file.path.name for file in files] == ["first-resnet8.pt", "second-resnet8.pt"]
    assert json.dumps([file.difference for file in files]) == "[0.0, 0.0]"
