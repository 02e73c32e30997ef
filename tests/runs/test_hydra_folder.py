"""``.hydra`` in a run folder: what Hydra's users look for, and nothing that a run depends on."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcl.__main__ import main

QUICK = ["trainer.max_steps=1", "trainer.batch_size=20", "dataset.limit=4", "tracking=none", "loss=independent"]


def test_folder_holds_the_command_and_only_its_own_run_changes_it(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVICE", "cpu")
    typed = [*QUICK, "trainer.device=${oc.env:DEVICE}", "+hydra.job.env_set.MY_TOKEN=abc123", "hydra.run.dir=run"]
    assert command(*typed).status == 0
    files = {file.name: file.read_text() for file in sorted(Path("run/.hydra").iterdir())}
    assert list(files) == ["config.yaml", "hydra.yaml", "overrides.yaml"]
    assert yaml.safe_load(files["overrides.yaml"]) == typed[:-2]
    config, hydra = yaml.safe_load(files["config.yaml"]), yaml.safe_load(files["hydra.yaml"])["hydra"]
    assert config["trainer"]["device"] == "${oc.env:DEVICE}"
    assert config["trainer"]["batch_size"] == 20
    assert hydra["run"]["dir"] == "run"
    assert hydra["runtime"]["choices"]["loss"] == "independent"
    assert not any("abc123" in text for text in files.values())
    assert command(*typed, "tracking=wandb").status == 0  # finished: its result is printed
    assert command(*typed, "seed=5").status == 1  # refused
    assert {file.name: file.read_text() for file in Path("run/.hydra").iterdir()} == files
    assert main(["bundle", "run"]) == 0
    assert not [name for name in zipfile.ZipFile("run.zip").namelist() if "hydra" in name]


def test_folder_that_is_no_run_stays_as_it_was(command: Callable[..., Any]) -> None:
    Path("photos").mkdir()
    Path("photos/one.jpg").touch()
    assert command(*QUICK, "hydra.run.dir=photos").status == 1
    assert [file.name for file in Path("photos").iterdir()] == ["one.jpg"]


def test_link_out_of_the_run_folder_is_refused(command: Callable[..., Any]) -> None:
    Path("run").mkdir()
    Path("elsewhere").mkdir()
    Path("run/.hydra").symlink_to(Path("elsewhere").absolute())
    assert "is a link that leads out of" in command(*QUICK, "hydra.run.dir=run").err
    done = command(*QUICK, "hydra.run.dir=run2", "hydra.output_subdir=../elsewhere")
    assert "hydra.output_subdir=../elsewhere: must be a folder inside the run folder." in done.err
    assert list(Path("elsewhere").iterdir()) == []
