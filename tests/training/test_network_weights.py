"""``pair.first.weights=``: files and runs that one network starts from, and the identity of such a run."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from support.small_runs import Outcome

from mcl import build_network
from mcl.config.absolute_paths import with_absolute_paths
from mcl.data.dataset import Dataset
from mcl.data.preprocessing import Preprocessing
from mcl.data.synthetic import Synthetic
from mcl.deploy import export_networks
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.networks.library import LibraryBackbone
from mcl.runs import checkpoints
from mcl.runs.identity import changes, config_hash
from mcl.runs.weights_places import WeightsPlace, checksum_of_place, parse_place
from mcl.training.agreement import check_source
from mcl.training.initial_weights import load_initial_weights
from mcl.training.network_weights import load_network_weights, weights_of

Small = Callable[..., Any]
Composed = Callable[..., DictConfig]


def cohort(classes: int = 4, *, frozen: bool = False, branched: bool = False, **names: str) -> Cohort:
    factories = {key: partial(build_network, name, classes) for key, name in names.items()}
    return Cohort(factories, branched=branched, seed=1, frozen=["first"] if frozen else [])


def run(folder: Path, networks: Cohort) -> Path:
    """Save networks as the last checkpoint of a run; its best weights are those plus 1."""
    best = {
        key: {name: tensor + 1 for name, tensor in backbone.state_dict().items()}
        for key, backbone in zip(networks.keys, networks.backbones, strict=True)
    }
    learner = {f"cohort.{key}": tensor for key, tensor in networks.state_dict().items()}
    checkpoints.save(folder / "checkpoints" / "last.pt", {"step": 0, "learner": learner, "best": best})
    return folder


def load(networks: Cohort, place: object, key: str = "first", **options: Any) -> str:
    pair = {key: {"weights": str(place), **options}}
    return load_network_weights(networks, key, weights_of(pair)[key])


def images(*classes: str, **options: Any) -> Dataset:
    dataset = Synthetic(classes=len(classes), **options)
    dataset.spec = replace(dataset.spec, classes=classes)
    return dataset


def check_teacher(learned: Sequence[str], *classes: str) -> list[str]:
    return check_source({"classes": learned}, images(*classes), "init_from=x", frozen=True)


EVERY_SOURCE = pytest.mark.parametrize(
    ("option", "exported"),
    [
        ("weights", ""),
        ("weights", "pt"),
        ("weights", "safetensors"),
        ("init_from", ""),
        ("init_from.first", ""),
        ("init_from.first", "pt"),
        ("init_from.first", "safetensors"),
    ],
)
Start = Callable[..., list[str]]


@pytest.fixture
def start(option: str, exported: str, tmp_path: Path) -> Start:
    """``start(frozen, dataset)`` loads a teacher that was trained on ``images("10", "9")``."""
    teacher = cohort(2, first="resnet8")
    about = {"classes": ["10", "9"], "preprocessing": Preprocessing.of(images("10", "9")).as_dict()}
    file = run(tmp_path / "teacher", teacher) / "checkpoints" / "last.pt"
    content = {"network": teacher.backbones[0].state_dict(), "about": about}
    checkpoints.save(file, content if exported else {**checkpoints.load(file), **about})
    if exported == "safetensors":
        file = tmp_path / "teacher.safetensors"
        save_file(teacher.backbones[0].state_dict(), file, {name: json.dumps(value) for name, value in about.items()})

    def load_teacher(frozen: bool, dataset: Dataset) -> list[str]:
        networks = cohort(2, frozen=frozen, first="resnet8")
        places: dict[str, Any] = {"weights": None, "init_from": str(file), "init_from.first": {"first": str(file)}}
        weights = weights_of({"first": {"weights": str(file)}}) if option == "weights" else {}
        return load_initial_weights(networks, places[option], None, weights, dataset)

    return load_teacher


@EVERY_SOURCE
def test_frozen_networks_have_learned_the_classes_in_the_same_order(start: Start) -> None:
    """A folder sorts classes 10 and 9 as text, a CSV file by value."""
    start(True, images("10", "9"))
    start(True, images("ten", "nine"))  # other names of the same classes
    start(False, images("9", "10"))  # its classifier learns
    with pytest.raises(UserError, match="its classes are in another order than those of the images: 9 is class 1"):
        start(True, images("9", "10"))


@EVERY_SOURCE
def test_frozen_networks_get_images_of_the_normalization_of_their_training(start: Start) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    use = r"use dataset\.mean=\[0\.5,0\.5,0\.5\] dataset\.std=\[0\.25,0\.25,0\.25\]\.$"
    for changed in ({"mean": mean}, {"std": std}):
        with pytest.raises(UserError, match=f": trained on images of another normalization than these.* {use}"):
            start(True, images("10", "9", **changed))
        assert re.search(use, start(False, images("10", "9", **changed))[-1])  # it learns: a note
    with pytest.raises(UserError, match=r"dataset\.channels=3 dataset\.mean="):
        start(True, images("10", "9", channels=1))
    assert not any("normalization" in note for note in start(False, images("10", "9")))


@pytest.mark.parametrize(("channels", "half"), [(3, r"\[0\.5,0\.5,0\.5\]"), (1, r"\[0\.5\]")])
def test_pretrained_weights_of_timm_name_their_normalization(
    channels: int, half: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: create(name, **options))

    def start_from_timm(frozen: bool, **normalization: Any) -> list[str]:
        named = {"name": "timm/test_resnet", "library": "timm", "model": "test_resnet", "weights": "DEFAULT"}
        factory = partial(LibraryBackbone, **named, num_classes=4, in_channels=channels)
        networks = Cohort({"first": factory}, branched=False, seed=1, frozen=["first"] if frozen else [])
        return load_initial_weights(networks, None, dataset=images(*"abcd", channels=channels, **normalization))

    note = rf"pair\.first\.weights: trained on .* use dataset\.mean={half} dataset\.std={half}\."
    assert re.fullmatch(note, start_from_timm(False, std=[0.25])[-1])
    with pytest.raises(UserError, match=note):
        start_from_timm(True, std=[0.25])
    assert len(start_from_timm(False, std=[0.5])) == 1
    with pytest.raises(UserError, match=r"pair\.first\.weights: it has no classifier .* random and never learn"):
        start_from_timm(True, mean=[0.5], std=[0.5])  # timm's has 1,000 classes


def test_frozen_networks_have_learned_a_class_of_the_images() -> None:
    with pytest.raises(
        UserError, match=r"^init_from=x: it has learned cat, dog, and the images are of car, van\. Train"
    ):
        check_teacher(["cat", "dog"], "car", "van")
    check_teacher(["cat", "dog"], "cat", "van")
    check_teacher(["cat", "e\N{COMBINING ACUTE ACCENT}"], "Cat", "\N{LATIN SMALL LETTER E WITH ACUTE}")
    check_teacher(["tench", "goldfish"], "n01440764", "n01443537")
    check_teacher([], "car", "van")


def test_descriptions_of_another_program_are_not_compared() -> None:
    for classes in ("9, 10", '{"9": 0, "10": 1}', "[", ["9"]):
        about = {"classes": classes, "preprocessing": classes}
        assert check_source(about, images("10", "9"), "init_from=x", frozen=True) == []


def test_places_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("a:b").write_text("")
    assert parse_place(None) is parse_place("DEFAULT") is parse_place("a1_in1k") is None
    assert parse_place("here") == WeightsPlace(Path("here"))
    assert parse_place("w.pth") == WeightsPlace(Path("w.pth"))
    assert parse_place("runs/x:first") == WeightsPlace(Path("runs/x"), "first")
    assert parse_place("x:second:best") == WeightsPlace(Path("x"), "second", "best")
    assert parse_place("x:best") == WeightsPlace(Path("x"), None, "best")
    assert parse_place("a:b") == WeightsPlace(Path("a:b"))
    with pytest.raises(UserError, match="weights=x:first:newest: expected a file, or a run as RUN, RUN:first or"):
        parse_place("x:first:newest")


def test_a_network_of_a_run_is_chosen_by_its_key_and_epoch(tmp_path: Path) -> None:
    source = cohort(first="resnet8", second="resnet8")
    place = run(tmp_path / "run", source)
    networks = cohort(first="resnet8")
    bias = [backbone.head.classifier.weight for backbone in source.backbones]
    for typed, expected in {
        place: bias[0],
        f"{place}:second": bias[1],
        f"{place}:first:best": bias[0] + 1,
        f"{place}:best": bias[0] + 1,
    }.items():
        text = load(networks, typed)
        assert torch.equal(networks.backbones[0].head.classifier.weight, expected), typed
        assert text == f"56 of 56 tensors of resnet8 from pair.first.weights={typed}."
    with pytest.raises(UserError, match=r"weights=\S+:third: third: there is no such network.*Known: first, second"):
        load(networks, f"{place}:third")
    with pytest.raises(UserError, match=r"first and second would all fit\. Name one: \S+run:first\."):
        load(cohort(third="resnet8"), place, "third")
    with pytest.raises(UserError, match=r"wrn_16_2: \S+ is .* there, .* here\."):
        load(cohort(first="wrn_16_2"), f"{place}:second")
    with pytest.raises(UserError, match="there is no file"):
        load(networks, tmp_path / "nowhere")


def test_other_classes_and_new_branches_are_said(tmp_path: Path) -> None:
    place = run(tmp_path / "run", cohort(first="resnet8"))
    text = load(cohort(7, branched=True, first="resnet8"), place)
    assert text.startswith("54 of 56 tensors of resnet8")
    assert text.endswith("the classifier starts new: 4 classes there, 7 here; its auxiliary branches start new.")
    with pytest.raises(UserError, match=r"no classifier of as many classes as the dataset.*pair\.first\.freeze=NUMBER"):
        load(cohort(7, frozen=True, first="resnet8"), place)


def test_weights_by_name_are_not_loaded_in_part() -> None:
    with pytest.raises(UserError, match=r"weights_strict=false: .* pair\.first\.weights=DEFAULT is a name of weights"):
        weights_of({"first": {"weights": "DEFAULT", "weights_strict": False}})


def test_files_hold_one_network(tmp_path: Path) -> None:
    torch.save(build_network("resnet8", 4).state_dict(), tmp_path / "w.pt")
    load(cohort(first="resnet8"), tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w\.pt holds one network, not a run\. Name the file alone"):
        load(cohort(first="resnet8"), f"{tmp_path}/w.pt:first")


@pytest.mark.parametrize("format", ["torch", "safetensors"])
def test_our_exports_are_weights(format: str, small: Small) -> None:
    assert small("source", "pair=single", "loss=independent", "trainer.max_steps=1").status == 0
    (file,) = export_networks(SavedRun("source"), format)
    weights = f"pair.first.weights={file.path}"
    result = small("run", "pair=single", "loss=independent", "trainer.max_steps=1", "optimizer.lr=0", weights)
    assert result.status == 0, result.err
    assert f"note: 56 of 56 tensors of resnet8 from {weights}." in " ".join(result.out.split())
    key = "cohort.networks.first.backbone.stages.0.0.conv1.weight"
    before, after = (Outcome(name).state["learner"][key] for name in ("source", "run"))
    assert torch.equal(before, after)


def test_the_weights_are_part_of_the_identity_and_their_place_is_not(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = run(tmp_path / "one", cohort(first="resnet8"))
    shutil.copytree(one, tmp_path / "moved")
    run(tmp_path / "other", cohort(7, first="resnet8"))
    torch.save({"a": torch.zeros(1)}, "w.pth")
    typed = ["one", "moved", "other", "one:first", "one:first:best", "w.pth", "null", "DEFAULT"]
    hashes = [config_hash(composed(f"++pair.first.weights={each}")) for each in typed]
    assert hashes[0] == hashes[1]
    assert hashes[6] == config_hash(composed())
    assert len(set(hashes)) == len(hashes) - 1
    lenient = composed("++pair.first.weights=one", "++pair.first.weights_strict=false")
    assert config_hash(lenient) == hashes[0]
    config = composed("++pair.first.weights=one")
    assert changes(config, composed("++pair.first.weights=moved")) == []
    (change,) = changes(config, composed("++pair.first.weights=other"))
    assert change.startswith("pair.first.weights: ")
    assert checksum_of_place(WeightsPlace(Path("w.pth"))) == checksum_of_place(WeightsPlace(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["pair.first.weights=nowhere.pt"], "pair.first.weights=nowhere.pt: there is no file nowhere.pt"),
        (["pair.first.weights=DEFAULT"], "resnet8 has no pretrained weights by name. Give pair.first.weights=FILE"),
        (["pair.first.weights=w.pt", "init_from=w.pt"], "init_from=w.pt also says where its weights come from"),
        (["pair.first.freeze=1"], "pair.first.freeze=1: it would stay at random weights"),
        (["pair.first.freeze=-1"], "pair.first.freeze=-1: expected a number of stages"),
        (["pair.first.freeze=9", "pair.first.weights=w.pt"], "pair.first.freeze=9: resnet8 has 3 stages"),
        (["pair.first.freeze=1", "pair.first.weights=w.pt", "pair.shared_stages=1"], "cannot be shared"),
        (["pair.first.deployed=maybe"], "pair.first.deployed=maybe: expected true, false"),
        (["pair.first.deployed=false", "pair.second.deployed=false"], "no network would be deployed"),
        (["pair.first.deployed=false", "pair.leader=first"], "pair.leader=first deploys it"),
        (["optimizer.layer_decay=2"], "optimizer.layer_decay=2: expected a number above 0 and at most 1"),
        (["optimizer.head_lr_factor=0"], "optimizer.head_lr_factor=0: expected a number above 0;"),
        (["loss=mcl", "loss.direction=back"], "loss.direction=back: expected one of mutual, one_way"),
        (["loss=switokd", "loss.direction=one_way"], "loss.direction: there is no such option"),
        (
            ["loss=mcl", "loss.direction=one_way", "pair.first.frozen=true", "pair.first.weights=w.pt"],
            "the first network learns from the others, and pair.first.frozen=true",
        ),
    ],
)
def test_mistakes_end_in_one_line_before_a_folder_is_made(options: list[str], message: str, command: Any) -> None:
    torch.save(build_network("resnet8", 10, in_channels=1).state_dict(), "w.pt")
    result = command(*options, "tracking=none")
    assert result.status == 1
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not Path("runs").exists()


def test_paths_of_weights_start_where_they_were_typed(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path("base"), cohort(first="resnet8"))
    typed = composed("++pair.first.weights=base:first", '++pair.second.weights="~/base"')
    moved = with_absolute_paths(typed, str(tmp_path))
    assert moved.pair.first.weights == f"{tmp_path}/base:first"
    assert moved.pair.second.weights == str(Path("~/base").expanduser())
    monkeypatch.chdir("/")
    assert weights_of(moved.pair, moved.weights_checksums)["first"].place.file.is_file()
    library = composed("network@pair.first=timm/lcnet_050", "++pair.first.weights=pretrained")
    assert with_absolute_paths(library, str(tmp_path)).pair.first.weights == "pretrained"


@pytest.mark.parametrize(
    ("typed", "opened"),
    [
        ("sqlite:///runs.db", "sqlite:////here/runs.db"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_database_of_mlflow_starts_where_the_command_was_typed(typed: str, opened: str) -> None:
    config = OmegaConf.create({"pair": {}, "tracking": {"mlflow": {"uri": typed}}})
    assert with_absolute_paths(config, "/here").tracking.mlflow.uri == opened
