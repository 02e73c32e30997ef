"""``python -m mcl release``, and what anybody can do with a release: load, evaluate, check its card."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.doc_pages import PAGES
from support.releases import drawn, header_of, logits_of, small_study
from support.run_folders import write_run

import mcl
from mcl.__main__ import main
from mcl.config.build_network import network_names, network_of
from mcl.config.conf_folder import conf_folder
from mcl.deploy import check_release, release_folders
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.runs.layout import SIGNS_OF_A_RUN
from mcl.runs.reading import find_runs, read_run

__all__ = ["small_study"]
NAME = "small/independent-resnet8"
COMMITTED = sorted((conf_folder().parent / "experiments").glob("*/weights/*/README.md"))
OF_CARD = re.compile(r"^\| (\w+) \| (\d+) \| (\S+) \| (\S+) \| (\S+ to \S+) \|$", re.MULTILINE)
OF_REPORT = re.compile(r"^\| .*, (\w+) \| (\S+) \| (\S+ to \S+) \| (\S+) \| (\d+)(?: of \d+)? \|$", re.MULTILINE)


@pytest.fixture
def home(small_study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(small_study.parents[1])
    monkeypatch.setenv("MCL_CACHE", str(small_study.parents[1] / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return small_study.parents[1]


@pytest.fixture
def released(home: Path) -> Path:
    folder = home / "experiments" / "small" / "weights" / "independent-resnet8"
    if not folder.exists():
        assert main(["release", "experiments/small"]) == 0
    return folder


@pytest.fixture
def copied(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the release, outside every study."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(released, tmp_path / "release"))


def best_run(home: Path) -> Path:
    runs = [run for run in map(read_run, find_runs(home / "runs")) if run.finished]
    assert len(runs) == 2

    def validation(folder: Path) -> float:
        networks = json.loads((folder / "summary.json").read_text())["networks"]
        return float(np.mean([network["validation_top1_last"] for network in networks]))

    return max(sorted((run.folder for run in runs), key=lambda folder: read_run(folder).seed or 0), key=validation)


def test_the_best_seed_by_validation_is_released(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["release", "experiments/small", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "by validation, the best of 2" in printed
    assert "without a finished run, so not released: mcl" in printed
    (folder,) = (tmp_path / "out").iterdir()
    assert sorted(file.name for file in folder.iterdir()) == [
        *("README.md", "first-resnet8.safetensors", "run.json", "second-resnet8.safetensors")
    ]
    assert header_of((folder / "README.md").read_text())["mcl"]["run"] == best_run(home).name
    for network in (0, "second"):
        expected = mcl.load(best_run(home), network).state_dict()
        actual = mcl.load(folder, network).state_dict()
        assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())


def test_a_release_is_no_run_folder(released: Path) -> None:
    assert not {file.name for file in released.iterdir()} & set(SIGNS_OF_A_RUN)
    assert find_runs(released.parents[1]) == []


def test_card_has_the_header_that_hubs_read_and_hashes_of_every_file(released: Path, home: Path) -> None:
    card = (released / "README.md").read_text()
    header = header_of(card)
    summary = json.loads((best_run(home) / "summary.json").read_text())
    assert header["license"] == "mit"
    assert header["pipeline_tag"] == "image-classification"
    assert header["datasets"] == ["synthetic"]
    (result,) = header["model-index"][0]["results"]
    assert [metric["value"] for metric in result["metrics"]] == [
        round(network["top1_last"], 2) for network in summary["networks"]
    ]
    assert {key: header["mcl"][key] for key in ("run", "seed", "data", "step", "chosen", "seeds")} == {
        "run": summary["config_hash"],
        "seed": summary["seed"],
        "data": summary["data"],
        "step": summary["steps"],
        "chosen": "validation",
        "seeds": 2,
    }
    assert header["mcl"]["files"] == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in released.iterdir()
        if file.name != "README.md"
    }


def test_card_states_accuracy_interval_recipe_and_command(released: Path, home: Path) -> None:
    card = (released / "README.md").read_text()
    runs = [read_run(folder) for folder in find_runs(home / "runs")]
    means = [np.mean([network["top1_last"] for network in run.summary["networks"]]) for run in runs]
    mean, half = np.mean(means), 12.7062 * np.std(means, ddof=1) / np.sqrt(2)
    deviation = np.std(means, ddof=1)
    if deviation:
        assert f"| resnet8 | 2 | {mean:.2f} | {deviation:.2f} | {mean - half:.2f} to {mean + half:.2f} |" in card
    assert f"| resnet8 | 2 | {mean:.2f} |" in card
    assert "SGD: lr 0.1" in card
    assert "The test images took no part in the choice." in card
    assert "python train.py dataset=synthetic" in card
    assert f"loss=independent seed={read_run(best_run(home)).seed}\n" in card
    for file in released.iterdir():
        assert str(home).encode() not in file.read_bytes()  # no path of this machine


def test_a_release_is_loaded_in_one_line_by_name(released: Path, home: Path) -> None:
    network = mcl.load(NAME)
    assert network.classes == ("class_0", "class_1", "class_2", "class_3")
    assert network.preprocessing.image_size == 8
    assert not network.training
    for other in (released, released / "first-resnet8.safetensors"):
        same = mcl.load(other).state_dict()
        assert all(torch.equal(same[name], tensor) for name, tensor in network.state_dict().items())
    assert release_folders()[NAME].resolve() == released


def test_an_unknown_name_gets_the_nearest_one_or_the_list(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=rf"Did you mean '{NAME}'\?$"):
        mcl.load("small/independent-resnet9")
    with pytest.raises(UserError, match=rf"Did you mean '{released.name}'\?$"):
        mcl.load(f"{released}s")
    with pytest.raises(UserError, match=rf"Released networks: .*{NAME}"):
        mcl.load("nowhere/x")
    assert main(["evaluate", "nowhere/x"]) == 1
    assert "no release has this name" in capsys.readouterr().err


def test_releases_of_this_project_are_found_from_every_folder(
    tmp_path: Path, released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package carries them beside its ``conf``."""
    monkeypatch.chdir(tmp_path)
    assert NAME not in release_folders()
    shutil.copytree(released, tmp_path / "package" / "experiments" / NAME.replace("/", "/weights/"))
    monkeypatch.setattr("mcl.deploy.release_folder.data_folder", lambda: tmp_path / "package")
    assert NAME in release_folders()
    assert '"experiments" = "mcl/experiments"' in (conf_folder().parent / "pyproject.toml").read_text()


def test_code_of_the_card_runs_and_gives_its_logits(
    released: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (released / "README.md").read_text()
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(15, 20)).save(home / "image.png")
    loaded, plain, check = re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    exec(loaded, {})
    names: dict[str, object] = {}
    exec(check, names)
    assert np.array_equal(names["images"], drawn(1, 8).numpy())  # type: ignore[arg-type]
    monkeypatch.chdir(released)
    exec(plain, names)
    torch.testing.assert_close(names["logits"], logits_of(card)["first"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("file", [None, *COMMITTED], ids=lambda file: "made here" if file is None else file.parent.name)
def test_networks_give_the_logits_of_their_card(file: Path | None, released: Path) -> None:
    """Every committed card, and the one made here; the images are drawn by the test."""
    folder = released if file is None else file.parent
    stated = logits_of((folder / "README.md").read_text())
    assert stated.keys() == set(SavedRun(folder).keys)
    for key, expected in stated.items():
        network = mcl.load(folder, key)
        images = drawn(network.preprocessing.channels, network.preprocessing.image_size)
        mean, std = (
            torch.tensor(values)[:, None, None] for values in (network.preprocessing.mean, network.preprocessing.std)
        )
        with torch.no_grad():
            actual = network((images / 255 - mean) / std)
        assert expected.shape == (16, len(network.classes))
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)
    assert check_release(folder) < 1e-3


def test_committed_releases_are_small() -> None:
    size = sum(file.stat().st_size for card in COMMITTED for file in card.parent.iterdir())
    assert size < 15e6


@pytest.mark.parametrize("card", COMMITTED, ids=[card.parent.name for card in COMMITTED])
def test_committed_card_has_the_accuracy_over_seeds_of_the_report(card: Path) -> None:
    report = (card.parents[2] / "RESULTS.md").read_text()
    rows = {
        (name, runs, mean, deviation, interval) for name, mean, interval, deviation, runs in OF_REPORT.findall(report)
    }
    networks = [row for row in OF_CARD.findall(card.read_text()) if row[0] != "ensemble"]
    assert networks
    assert set(networks) <= rows


def test_evaluate_measures_the_accuracy_of_the_card_again(
    released: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(released.iterdir())
    assert main(["evaluate", NAME, "trainer.device=cpu"]) == 0
    printed = capsys.readouterr().out
    summary = json.loads((best_run(home) / "summary.json").read_text())
    top1 = [network["top1_last"] for network in summary["networks"]]
    assert "logits of the 16 images of the card: within" in printed
    assert f"recorded by the run: first/backbone {top1[0]:.2f}, second/backbone {top1[1]:.2f}, ensemble" in printed
    assert "within 0.00 points" in printed
    scores = json.loads((home / "independent-resnet8-evaluation" / "test" / "scores.json").read_text())
    assert scores["first/backbone"]["top1"] == pytest.approx(top1[0])
    assert sorted(released.iterdir()) == before


def test_other_images_are_not_compared_with_the_record(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", NAME, "trainer.device=cpu", "dataset.test_per_class=2", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "not those of the run" in printed
    assert "recorded by the run" not in printed


def test_a_release_is_exported_predicted_and_bundled_like_a_run(
    released: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(15, 20)).save(home / "image.png")
    assert main(["export", NAME, "--format", "torch"]) == 1
    assert "--out FOLDER" in capsys.readouterr().err
    assert main(["export", NAME, "--format", "torch", "--out", str(tmp_path)]) == 0
    assert "| first | resnet8 | " in (tmp_path / "README.md").read_text()  # its accuracy
    assert main(["bundle", NAME, "--out", str(tmp_path / "release.zip")]) == 0
    for place in (NAME, str(tmp_path / "first-resnet8.pt"), str(tmp_path / "release.zip")):
        capsys.readouterr()
        assert main(["predict", place, "image.png"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("image.png: class")
    assert torch.equal(
        mcl.load(tmp_path / "release.zip")(torch.ones(1, 1, 8, 8)), mcl.load(NAME)(torch.ones(1, 1, 8, 8))
    )


def test_the_same_runs_give_the_same_bytes_and_replace_an_older_release(copied: Path, home: Path) -> None:
    out = copied.parent / "again"
    old = out / "independent-resnet8"
    shutil.copytree(copied, old)
    (old / "first-resnet20.safetensors").write_bytes(b"of an older release")
    (old / "mine.safetensors").write_bytes(b"of nobody else")
    card = (old / "README.md").read_text()
    (old / "README.md").write_text(card.replace("  files:\n", "  files:\n    first-resnet20.safetensors: 1\n", 1))
    assert main(["release", str(home / "experiments" / "small"), "--out", str(out)]) == 0
    written = {file.name: file.read_bytes() for file in old.iterdir()}
    assert written.pop("mine.safetensors") == b"of nobody else"
    assert written == {file.name: file.read_bytes() for file in copied.iterdir()}


def test_other_files_are_not_replaced(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "independent-resnet8").mkdir()
    (tmp_path / "independent-resnet8" / "README.md").write_text("mine")
    assert main(["release", "experiments/small", "--out", str(tmp_path)]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "independent-resnet8" / "README.md").read_text() == "mine"


def test_another_seed_is_released_when_asked_and_the_card_says_so(home: Path, tmp_path: Path) -> None:
    for choice, sentence in {
        "first": "It is the first one: no image took part in the choice.",
        "test": "so its accuracy is higher than it would be on other images",
    }.items():
        out = tmp_path / choice
        assert main(["release", "experiments/small", "--out", str(out), "--choose", choice]) == 0
        card = (out / "independent-resnet8" / "README.md").read_text()
        assert sentence in card
        assert header_of(card)["mcl"]["chosen"] == choice
    assert header_of((tmp_path / "first/independent-resnet8/README.md").read_text())["mcl"]["seed"] == 0


def test_rows_are_chosen_by_label_and_license_by_identifier(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["release", "experiments/small", "--out", str(tmp_path)]
    assert main([*place, "--only", "loss=independent", "--license", "CC-BY-4.0"]) == 0
    card = (tmp_path / "independent-resnet8" / "README.md").read_text()
    assert header_of(card)["license"] == "cc-by-4.0"
    assert "CC-BY-4.0. The images" in card
    for wrong, message in {
        ("--only", "mcl"): "There is no finished run in these rows",
        ("--only", "loss=mcp"): "loss=mcp: no row has this label. Rows: ",
        ("--only", "nothing"): "--only nothing: no single factor has this label",
        ("--only", "loss=independent", "--only", "loss=mcl"): "--only: loss is given as independent and as mcl",
        ("--license", "my own: yes"): "give an SPDX identifier",
    }.items():
        assert main([*place, *wrong]) == 1
        assert message in capsys.readouterr().err


def test_a_folder_of_runs_is_released_without_a_command(home: Path, tmp_path: Path) -> None:
    assert main(["release", "runs", "--out", str(tmp_path)]) == 0
    (folder,) = tmp_path.iterdir()
    card = (folder / "README.md").read_text()
    assert folder.name == "independent-resnet8"
    assert "Study runs." in card
    assert "python train.py" not in card
    assert f"is {best_run(home).name}." in card


def test_test_images_do_not_choose_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs", "lmcl", 0, [80, 80])
    assert main(["release", "runs"]) == 1
    error = capsys.readouterr().err
    assert "test images must not choose" in error
    assert "--choose first" in error
    assert not (tmp_path / "runs" / "weights").exists()


def test_an_unfinished_run_and_a_search_have_no_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs", "lmcl", 0, [80, 80], finished=False)
    assert main(["release", "runs"]) == 1
    assert "There is no finished run in these rows" in capsys.readouterr().err
    assert main(["release", str(conf_folder().parent / "experiments" / "loss_weights")]) == 1
    assert "is a search" in capsys.readouterr().err


def test_a_network_with_other_options_has_no_name() -> None:
    assert (
        network_of({"_target_": "mcl.networks.resnet.ResNet", "name": "resnet8", "block": "basic", "depths": [1, 1, 1]})
        == "resnet8"
    )
    assert (
        network_of({"_target_": "mcl.networks.resnet.ResNet", "name": "resnet8", "block": "basic", "depths": [1, 1, 2]})
        is None
    )
    assert len(network_names()) > 10


def test_the_command_is_on_a_page() -> None:
    assert any("python -m mcl release PLACE" in page.read_text() for page in PAGES)
