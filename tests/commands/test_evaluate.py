"""``python -m mcl evaluate``: the same numbers as in training, and more."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.small_runs import Outcome

from mcl.__main__ import main
from mcl.data.dataset import Dataset
from mcl.data.imagenet import ImageNet
from mcl.data.synthetic import Synthetic
from mcl.deploy.class_names import match_classes
from mcl.deploy.classification_metrics import Scores
from mcl.deploy.detailed_evaluation import evaluate_run, evaluation_record, write_evaluation
from mcl.deploy.saved_run import SavedRun, build_kind
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.runs import checkpoints
from mcl.runs.evaluation_record import read_record
from mcl.runs.stored_config import decode_config


@pytest.fixture
def run(undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))


def test_top1_top5_and_loss_equal_those_of_training(undisturbed: Outcome) -> None:
    scores = evaluate_run(SavedRun(undisturbed.folder))
    (row,) = [row for row in undisturbed.metrics if row["step"] == 10 and "test/ensemble/top1" in row]
    assert set(scores) == {name.split("/", 1)[1].rpartition("/")[0] for name in row if name.startswith("test/")}
    for name, score in scores.items():
        result = score.result()
        for key, metric in (("top1", "top1"), ("top5", "top5"), ("nll", "loss")):
            assert result[key] == pytest.approx(row[f"test/{name}/{metric}"], rel=1e-6), (name, key)


def test_calibration_in_the_summary_equals_that_of_the_command(undisturbed: Outcome) -> None:
    scores = evaluate_run(SavedRun(undisturbed.folder))
    summary = json.loads((undisturbed.folder / "summary.json").read_text())
    stored = {f"{network['key']}/backbone": network["ece_last"] for network in summary["networks"]}
    stored["ensemble"] = summary["ensemble"]["ece_last"]
    assert len(stored) == 3
    for name, error in stored.items():
        assert error > 0
        assert error == pytest.approx(scores[name].result()["ece"], rel=1e-5), name


@pytest.mark.drawn
def test_command_prints_and_writes_results(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "trainer.device=cpu"]) == 0
    output = capsys.readouterr().out
    for part in ("test, 12 images", "first/stage1", "second/aggregated", "ensemble", "balanced", "ece"):
        assert part in output
    first = json.loads((run / "summary.json").read_text())["networks"][0]["top1_last"]
    assert f"recorded by the run: first/backbone {first:.2f}, " in output
    assert "; within 0.00 points" in output
    folder = run / "evaluation" / "test"
    scores = json.loads((folder / "scores.json").read_text())
    assert len(scores["ensemble"]["per_class"]) == 4
    rows = list(csv.reader((folder / "confusion-first-backbone.csv").open()))
    assert len(rows) == 5
    right = sum(int(rows[i][i]) for i in range(1, 5))
    assert 100 * right / 12 == pytest.approx(scores["first/backbone"]["top1"])
    with Image.open(folder / "confusion-ensemble.png") as picture:
        assert min(picture.size) > 200
    recall = list(csv.DictReader((folder / "per_class.csv").open()))
    assert len(recall) == 4
    assert float(recall[0]["ensemble"]) == pytest.approx(next(iter(scores["ensemble"]["per_class"].values())))


def test_best_weights_and_other_splits_can_be_evaluated(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--weights", "best", "--split", "train", "--out", "elsewhere"]) == 0
    assert "train, 32 images" in capsys.readouterr().out
    heads = {"first/backbone", "second/backbone", "ensemble"}
    assert set(json.loads(Path("elsewhere/train-best/scores.json").read_text())) == heads
    best = evaluate_run(SavedRun(run), weights="best")
    summary = json.loads((run / "summary.json").read_text())
    for key, network in zip(("first", "second"), summary["networks"], strict=True):
        assert best[f"{key}/backbone"].result()["top1"] == pytest.approx(network["top1_best"])


@pytest.mark.parametrize("out", [["--out", "out"], []])
def test_evaluations_of_two_runs_do_not_share_a_folder(
    out: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(run)
    if not out:
        place = "run.zip"
        assert main(["bundle", str(run)]) == 0
    for _ in range(2):
        assert main(["evaluate", place, *out]) == 0
    record = Path("out" if out else "run-evaluation", "test/evaluation.json")
    before = json.loads(record.read_text())
    record.write_text(json.dumps({**before, "run": "0123456789"}))
    assert main(["evaluate", place, *out]) == 1
    assert f"{record.parent} holds the evaluation of another run, 0123456789. Give" in capsys.readouterr().err
    assert json.loads(record.read_text())["date"] == before["date"]


def test_best_networks_of_different_epochs_have_their_own_shared_stages(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = SavedRun(run)
    saved.config.pair.shared_stages = 2
    first, second = (saved._backbone_state(key, "best") for key in ("first", "second"))
    assert not torch.equal(first["stem.0.weight"], second["stem.0.weight"])  # as after two epochs
    cohort, _ = saved.learner("best")
    for backbone, state in zip(cohort.backbones, (first, second), strict=True):
        assert torch.equal(backbone.state_dict()["stem.0.weight"], state["stem.0.weight"])


def test_other_images_are_noticed_before_they_are_evaluated(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told_before: list[str] = []

    def evaluated(*arguments: Any) -> Any:
        told_before.append(capsys.readouterr().out)
        return evaluate_run(*arguments)

    monkeypatch.setattr("mcl.deploy.detailed_evaluation.evaluate_run", evaluated)
    assert main(["evaluate", str(run), "dataset.test_per_class=5"]) == 0
    assert "test, 20 images" in capsys.readouterr().out
    assert told_before == ["These images are not those of the run.\n"]


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "evaluation.json"}


@pytest.mark.parametrize(
    ("overrides", "lost", "described"),
    [
        (["dataset.test_per_class=5"], "", ["other images", "dataset.test_per_class: 3 -> 5"]),
        (["trainer.precision=bfloat16"], "", ["trainer.precision: float32 -> bfloat16"]),
        ([], "summary.json", ["step 10"]),
    ],
)
def test_other_evaluations_do_not_replace_that_of_the_run(
    overrides: list[str], lost: str, described: list[str], run: Path
) -> None:
    assert main(["evaluate", str(run)]) == 0
    own = files_in(run / "evaluation" / "test")
    assert read_record(run / "evaluation" / "test").deviations(steps=10) == []  # type: ignore[union-attr]
    if lost:
        (run / lost).unlink()
    assert main(["evaluate", str(run), *overrides]) == 0
    assert files_in(run / "evaluation" / "test") == own
    (other,) = [folder for folder in (run / "evaluation").iterdir() if folder.name != "test"]
    assert files_in(other).keys() == own.keys()
    record = read_record(other)
    assert record is not None
    assert record.deviations() == described
    assert (record.split, record.weights, record.step, record.overrides) == ("test", "last", 10, overrides)


@pytest.mark.parametrize("command", ["evaluate", "probe"])
def test_a_place_that_cannot_take_the_results_is_named_before_an_image_is_read(
    command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "evaluation")
    (run / "evaluation").touch()
    monkeypatch.setattr(Synthetic, "load", lambda dataset: pytest.fail("the work has begun"))
    assert main([command, str(run)]) == 1
    assert f"{run / 'evaluation'} is a file, not a folder." in capsys.readouterr().err


def test_harmless_options_do_not_make_another_evaluation(run: Path) -> None:
    assert main(["evaluate", str(run), "trainer.device=cpu", "trainer.threads=1"]) == 0
    assert [folder.name for folder in (run / "evaluation").iterdir()] == ["test"]


def test_folder_with_some_of_the_classes_is_evaluated_by_their_names(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCL_CACHE", str(tmp_path / "cache"))
    images, labels = SavedRun(run).dataset.load().test
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        for part in ("train", "test"):
            folder = tmp_path / "some" / part / f"class_{label}"
            if label in (1, 3):
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")
    overrides = ["dataset.image_size=8", "dataset.root=some", "dataset.channels=1"]  # before the choice they belong to
    overrides += ["dataset.mean=[0.5]", "dataset.std=[0.25]", "dataset=folder"]
    assert main(["evaluate", str(run)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), *overrides]) == 0
    output = capsys.readouterr().out
    assert "Classes are matched by name: 2 of the 4 trained ones are in this dataset." in output
    own, other = sorted((run / "evaluation").iterdir())
    full_matrix = list(csv.reader((own / "confusion-first-backbone.csv").open()))
    part = list(csv.reader((other / "confusion-first-backbone.csv").open()))
    assert [part[0], part[2], part[4]] == [full_matrix[0], full_matrix[2], full_matrix[4]]
    assert [row[1:] for row in (part[1], part[3])] == [["0"] * 4] * 2
    recalls = [list(csv.DictReader((folder / "per_class.csv").open())) for folder in (own, other)]
    assert [recalls[1][label] for label in (1, 3)] == [recalls[0][label] for label in (1, 3)]
    assert recalls[1][0]["ensemble"] == ""
    (tmp_path / "some" / "train" / "class_3").rename(tmp_path / "some" / "train" / "dog")
    (tmp_path / "some" / "test" / "class_3").rename(tmp_path / "some" / "test" / "dog")
    assert main(["evaluate", str(run), *overrides]) == 1
    assert "do not know dog. They know class_0, class_1, class_2, class_3" in capsys.readouterr().err


def test_all_labelled_photos_of_a_folder_are_evaluated_by_choice(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCL_CACHE", str(tmp_path / "cache"))
    for number in range(10):
        file = tmp_path / "photos" / f"class_{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 * number).save(file)
    options = ["dataset=folder", "dataset.root=photos", "dataset.image_size=8", "dataset.channels=1"]
    options += ["dataset.mean=[0.5]", "dataset.std=[0.25]"]
    part = "The test split is a part of the images, drawn at random: 0.2 of each class. dataset.test_fraction=1"

    def evaluated(*more: str) -> str:
        assert main(["evaluate", str(run), *options, *more]) == 0
        return capsys.readouterr().out

    few = evaluated()
    assert part in few
    assert "test, 2 images" in few
    every = evaluated("dataset.test_fraction=1")
    assert "drawn" not in every
    assert "test, 10 images" in every
    (tmp_path / "photos").rename(tmp_path / "test")
    (tmp_path / "photos").mkdir()
    (tmp_path / "test").rename(tmp_path / "photos" / "test")
    assert "test, 10 images" in evaluated()
    assert main(["evaluate", str(run), *options, "--split", "train"]) == 1
    assert "--split train: dataset.root=" in capsys.readouterr().err
    assert main(["probe", str(run), *options]) == 1
    assert "has test/ but no train/ folder. Add one or" in capsys.readouterr().err


def named(dataset: Dataset, *classes: str) -> Dataset:
    dataset.spec = replace(dataset.spec, classes=classes)
    return dataset


def test_labels_follow_the_names_of_classes_not_their_order() -> None:
    trained = ("cat", "dog", "fox")
    assert match_classes(named(Synthetic(), *trained), trained) == (0, 1, 2)
    assert match_classes(named(Synthetic(), "fox", "cat", "dog"), trained) == (2, 0, 1)
    assert match_classes(named(Synthetic(), "fox", "cat"), trained) == (2, 0)
    stored = (r"caf\udce9", r"a\nb")  # as runs store names that do not print
    assert match_classes(named(Synthetic(), "caf\udce9", "a\nb"), stored) == (0, 1)
    assert match_classes(named(Synthetic(), "cafe\u0301", "tea"), ("tea", "caf\xe9")) == (1, 0)  # from a Mac
    for unknown in (("cat", "dog", "wolf"), ("wolf",)):
        with pytest.raises(UserError, match="do not know wolf"):
            match_classes(named(Synthetic(), *unknown), trained)
    twice = ("crane", "dog", "crane")
    assert match_classes(named(Synthetic(), *twice), twice) == (0, 1, 2)
    with pytest.raises(UserError, match="crane names several classes"):
        match_classes(named(Synthetic(), "dog", "crane"), twice)


def test_imported_networks_have_imagenet_class_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tuple(f"word {label}" for label in range(1000))
    monkeypatch.setattr(ImageNet, "published_classes", lambda: words)
    for part in ("train", "val"):
        for label in range(1000):
            file = tmp_path / "imagenet" / part / f"n{label:08}" / "1.JPEG"
            file.parent.mkdir(parents=True)
            file.touch()
    dataset = ImageNet(str(tmp_path / "imagenet"), partial=True, cache_dir=str(tmp_path / "cache"))
    assert match_classes(dataset, words) == tuple(range(1000))
    with pytest.raises(UserError, match="do not know n00000000"):
        match_classes(dataset, ("other", *words[1:]))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trainer.devise=cpu"], ["trainer.devise", "'device'"]),
        (["trainer.device=tpu"], ["trainer.device=tpu"]),
        (["dataset=digits"], ["10 classes", "4"]),
        (["dataset.mean=[0.1]"], ["dataset.mean=[0.5]"]),
        (["dataset.channels=3"], ["3 channels, and the networks take 1", "dataset.channels=1"]),
        (["pair=resnet14"], ["do not fit"]),
        (["dataset.image_size=1"], ["1"]),
        (["--split", "validation"], ["validation", "dataset.validation"]),
        (["seed="], ["seed"]),
        (["~seed"], ["option=value"]),
        (["dataset=nothing"], ["dataset=nothing"]),
    ],
)
def test_errors_of_evaluation_are_reported(
    arguments: list[str], parts: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), *arguments]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    for part in parts:
        assert part in message


def test_group_choice_is_composed_with_its_options(undisturbed: Outcome) -> None:
    for overrides in (["dataset=folder", "dataset.root=/some/photos"], ["dataset.root=/some/photos", "dataset=folder"]):
        dataset = SavedRun(undisturbed.folder, overrides).config.dataset
        assert (dataset.root, dataset.name) == ("/some/photos", "photos")


@pytest.fixture
def run_of_a_folder(command: Callable[..., Any]) -> None:
    for i in range(8):
        Path(f"images/class_{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (30 * i, 0, 0)).save(f"images/class_{i % 2}/{i}.png")
    images = ["dataset=folder", "dataset.root=images", "dataset.cache_dir=own", "trainer.max_steps=1"]
    done = command(*images, "loss=independent", "trainer.batch_size=2", "hydra.run.dir=run", "tracking=none")
    assert done.status == 0, done.err


@pytest.mark.usefixtures("run_of_a_folder")
def test_all_images_of_the_run_itself_include_those_of_training(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "run", "dataset.test_fraction=1"]) == 0
    assert "All images are evaluated, also those that the run was trained on." in capfd.readouterr().out
    assert main(["evaluate", "run"]) == 0
    assert "drawn at random: 0.2 of each class.\n" in capfd.readouterr().out


@pytest.mark.usefixtures("run_of_a_folder")
def test_folder_to_write_to_comes_from_the_command_line_alone() -> None:
    assert SavedRun("run").config.dataset.cache_dir is None
    assert SavedRun("run", ["dataset.cache_dir=other"]).config.dataset.cache_dir == "other"


def test_config_that_names_other_code_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "evil.py").write_text("raise SystemExit('ran')")
    text = (run / "config.yaml").read_text()
    for target in ("os.system", "evil.Network", "mcl.runs.checkpoints.os.system"):
        evil = text.replace("mcl.networks.resnet.ResNet", target).replace(
            "allow_modules: []", "allow_modules: [os, evil]"
        )
        assert evil.count(target) == 2
        assert decode_config(evil, "config.yaml")["allow_modules"] == ["os", "evil"]
        (run / "config.yaml").write_text(evil)
        for command in (["evaluate"], ["export", "--format", "torch"], ["predict", "image.png"], ["bundle"]):
            assert main([command[0], str(run), *command[1:]]) == 1
            assert target in capsys.readouterr().err


def test_target_of_the_wrong_kind_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcl.data.published.download", pytest.fail)
    node = {"_target_": "mcl.data.published.download", "url": "http://localhost", "folder": "here", "md5": ""}
    with pytest.raises(UserError, match=r"published\.download"):
        build_kind(Backbone, node, path="pair.first")


def test_allowed_module_is_built(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "mine.py").write_text("from mcl.networks.resnet import ResNet\nclass Mine(ResNet):\n    pass\n")
    monkeypatch.syspath_prepend(run)
    text = (run / "config.yaml").read_text().replace("mcl.networks.resnet.ResNet", "mine.Mine")
    (run / "config.yaml").write_text(text)
    last = run / "checkpoints" / "last.pt"
    checkpoints.save(last, {**checkpoints.load(last), "config": decode_config(text, "config.yaml")})
    with pytest.raises(UserError, match=r"mine\.Mine"):
        SavedRun(run)
    assert type(SavedRun(run, allow=["mine"]).backbone()).__name__ == "Mine"


def test_run_with_what_this_machine_lacks_is_evaluated(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch statistics over several GPUs, and packages for an export, concern training alone."""
    monkeypatch.setattr("mcl.training.options.require", lambda *_, **__: pytest.fail("nothing is exported"))
    text = (run / "config.yaml").read_text()
    text = text.replace("sync_batch_norm: false", "sync_batch_norm: true").replace("export: null", "export: onnx")
    (run / "config.yaml").write_text(text)
    last = run / "checkpoints" / "last.pt"
    checkpoints.save(last, {**checkpoints.load(last), "config": decode_config(text, "config.yaml")})
    saved = SavedRun(run)
    assert (saved.config.trainer.sync_batch_norm, saved.config.trainer.export) == (True, "onnx")
    assert "first/backbone" in evaluate_run(saved)


def test_interpolation_in_a_config_is_refused(run: Path) -> None:
    text = (run / "config.yaml").read_text().replace("seed: 0", "seed: ${oc.env:HOME}")
    (run / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="interpolation"):
        SavedRun(run)


def test_checkpoint_of_networks_only_can_be_evaluated(run: Path) -> None:
    """Imported checkpoints contain only networks."""
    state = checkpoints.load(run / "checkpoints" / "last.pt")
    networks = {key: value for key, value in state["learner"].items() if key.startswith("cohort.")}
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").unlink()
    checkpoints.save(run / "checkpoints" / "last.pt", {"step": 0, "learner": networks})
    scores = evaluate_run(SavedRun(run))
    assert "first/aggregated" not in scores
    result = scores["first/backbone"].result()
    assert result["top1"] == pytest.approx(summary["networks"][0]["top1_last"])
    with pytest.raises(UserError, match="never evaluated"):
        SavedRun(run).backbone(weights="best")


def test_scores_equal_hand_computed_values() -> None:
    scores = Scores(3)
    confident = torch.tensor([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    scores.update(confident, torch.tensor([0, 1]))
    scores.update(torch.tensor([[0.0, 0.0, 0.1]]), torch.tensor([2]))
    result = scores.result()
    assert result["top1"] == pytest.approx(200 / 3)
    assert result["top5"] == 100
    assert result["balanced_accuracy"] == pytest.approx(200 / 3)
    assert scores.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    p, q = confident.softmax(1)[0, 0].item(), torch.tensor([0.0, 0.0, 0.1]).softmax(0)[2].item()
    assert result["ece"] == pytest.approx(100 * (2 * abs(0.5 - p) + (1 - q)) / 3, rel=1e-5)
    assert result["nll"] == pytest.approx(-(torch.tensor([p, (1 - p) / 2, q]).log().sum().item()) / 3, rel=1e-3)


def test_classes_of_one_name_keep_their_own_accuracy(run: Path, tmp_path: Path) -> None:
    scores = Scores(3)
    scores.update(torch.eye(3), torch.tensor([0, 1, 0]))
    record = evaluation_record(SavedRun(run))
    write_evaluation({"first/backbone": scores}, ("crane", "dog", "crane"), tmp_path / "out", record, "a run")
    (table,) = json.loads((tmp_path / "out" / "scores.json").read_text()).values()
    assert table["per_class"] == {"crane (label 0)": 50, "dog": 100, "crane (label 2)": None}


def test_class_without_images_has_no_accuracy() -> None:
    scores = Scores(3)
    scores.update(torch.eye(3)[:2], torch.tensor([0, 1]))
    assert scores.per_class() == [100, 100, None]
    assert scores.result()["balanced_accuracy"] == 100
