"""``mcl train`` and `mcl.train`: one program, typed or called."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mcl
from mcl import program
from mcl.__main__ import main
from mcl.config import conf_folder
from mcl.errors import UserError

QUICK = ["trainer.max_steps=1", "trainer.batch_size=20", "dataset.limit=4", "tracking=none", "loss=independent"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("elsewhere")
def test_called_twice_trains_once_and_another_seed_is_another_run(capsys: pytest.CaptureFixture[str]) -> None:
    config = mcl.compose("train", [*QUICK, "seed=1"])
    first = mcl.train(config)
    stored = json.loads(Path(first["folder"], "summary.json").read_text())
    assert first == stored | {"folder": first["folder"]}
    assert "epoch 1/1" in capsys.readouterr().out
    assert mcl.train(config) == first
    assert "epoch 1/1" not in capsys.readouterr().out
    config.seed = 2
    second = mcl.train(config)
    assert second["seed"] == 2
    assert second["folder"] != first["folder"]


@pytest.mark.usefixtures("elsewhere")
def test_folder_and_result_are_those_of_the_command(command: Callable[..., Any]) -> None:
    called = mcl.train(mcl.compose("train", QUICK))
    typed = command(*QUICK)
    assert typed.out.splitlines()[-1] == str(Path(called["folder"]).relative_to(Path.cwd()))
    assert "epoch 1/1" not in typed.out


def test_result_is_that_of_the_same_images(command: Callable[..., Any]) -> None:
    def save(*places: str) -> None:
        for place in map(Path, places):
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (len(place.name), 0, 0)).save(place)

    save(*(f"pets/{name}/{number}.png" for name in ("cat", "dog") for number in range(4)))
    pets = ["dataset=folder", "dataset.image_size=8", "trainer.max_steps=1", "trainer.batch_size=4", "tracking=none"]
    pets += ["loss=independent", "dataset.name=pets"]
    first = command(*pets, "dataset.root=pets")
    assert (first.status, "note" in first.out) == (0, False), first.err
    gone = command(*pets, "dataset.root=nowhere")
    assert gone.status == 0
    assert "note: dataset.root=nowhere does not exist, so its images were not compared" in gone.out
    assert gone.out.splitlines()[-1] == first.out.splitlines()[-1]
    save("pets/horse/0.png")
    one_image = command(*pets, "dataset.root=pets")
    assert (one_image.status, one_image.out) == (1, "")
    assert "these have fewer than two images: horse" in one_image.err
    save("pets/horse/1.png")
    assert "trained on other images than those in dataset.root" in command(*pets, "dataset.root=pets").err


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("train", ["optimizer.lrr=1"], r"optimizer\.lrr: there is no such option\. Did you mean 'lr'\?"),
        ("train", ["loss=lmcll"], "Did you mean 'lmcl'"),
        ("trian", [], "trian: there is no such configuration. Did you mean 'train'"),
    ],
)
def test_wrong_settings_are_user_errors(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mcl.compose(name, overrides)


@pytest.mark.usefixtures("elsewhere")
def test_setting_that_was_changed_is_checked_and_leaves_no_folder() -> None:
    config = mcl.compose("train", QUICK)
    config.seed = -1
    with pytest.raises(UserError, match="seed=-1: must be from 0"):
        mcl.train(config)
    with pytest.raises(UserError, match="which has a part named hydra"):
        mcl.train({})  # type: ignore[arg-type]
    assert list(Path().iterdir()) == []


def test_options_of_a_study_are_composed() -> None:
    assert mcl.compose("sweep", ["study=quickstart"]).study == "quickstart"


@pytest.mark.usefixtures("elsewhere")
def test_module_trains_as_the_script_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["mcl"])
    assert main(["train", "--cfg", "job", "-p", "optimizer"]) == 0
    assert "lr: 0.1" in capsys.readouterr().out
    assert main(["sweep", "study=quickstar"]) == 1
    assert "Did you mean 'quickstart'" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mcl-torch {mcl.__version__}\n"


def test_installed_package_types_mcl(monkeypatch: pytest.MonkeyPatch) -> None:
    assert program.program("train") == "python train.py"
    monkeypatch.setattr(program, "in_checkout", lambda: False)
    assert program.program("train") == "mcl train"
    assert program.start("train") == ["-m", "mcl", "train"]
    assert program.is_installed(program.ROOT / "mcl" / "experiments" / "quickstart")
    monkeypatch.setattr(conf_folder, "in_checkout", lambda: False)
    assert conf_folder.conf_folder() == program.ROOT / "mcl" / "conf"
