"""``mcl init``: files that train as they are, and mistakes in them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mcl.__main__ import main

MINE = ["experiment=mine", "trainer.max_steps=1", "tracking=none"]
NETWORK, PARTS = "conf/network/my_network.yaml", "my_parts.py"


@pytest.fixture
def mine(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """``mine(file, old, new)`` makes one change in the files, and trains them."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert main(["init"]) == 0

    def train(file: str = "", old: str = "", new: str = "") -> Any:
        sys.modules.pop("my_parts", None)
        if file:
            text = Path(file).read_text()
            assert old in text
            Path(file).write_text(text.replace(old, new))
        return command(*MINE)

    yield train
    sys.modules.pop("my_parts", None)


def test_files_train_as_they_are(mine: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    done = mine()
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1].startswith("runs/my_dataset/my_network/my_loss/")
    assert main(["init"]) == 1
    assert "my_parts.py: exists already, and is not replaced" in capfd.readouterr().err


def test_the_command_to_train_them_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "my parts"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Train them:  cd 'my parts' && mcl train experiment=mine"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (NETWORK, "width", "widht", "pair.first.widht: there is no such option of MyNetwork. Did you mean 'width'?"),
        (NETWORK, "width: 16", "width: wide", "pair.first.width=wide: expected a whole number."),
        (NETWORK, "width: 16", "width: [", "conf/network/my_network.yaml, line 3: not valid YAML"),
        (NETWORK, "MyNetwork", "MyNetwrk", "my_parts has no 'MyNetwrk'. Did you mean 'MyNetwork'?"),
        (
            "conf/experiment/mine.yaml",
            "my_loss\n",
            "my_los\n",
            "loss=my_los: there is no such choice. Did you mean",
        ),
        (PARTS, "import torch\n", "import torhc\n", "importing my_parts failed: No module named 'torhc'."),
        (PARTS, "nn.ReLU())", "nn.ReLU()", "importing my_parts failed: my_parts.py, line 18: '(' was never closed."),
        (
            PARTS,
            "class MyLoss(Loss)",
            "class MyLoss(Los)",
            "my_parts.py, line 35: NameError: name 'Los' is not",
        ),
        (PARTS, "mse_loss(each", "mse_lss(each", "MyLoss fails on 2 images: NameError: name 'mse_lss' is not defined"),
        (PARTS, "self._draw(gen", "self._drw(gen", "AttributeError: 'MyDataset' object has no attribute '_drw'"),
    ],
)
def test_mistake_is_one_line(mine: Callable[..., Any], file: str, old: str, new: str, message: str) -> None:
    done = mine(file, old, new)
    assert done.status == 1
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_conf_of_another_kind_is_left_alone(command: Callable[..., Any]) -> None:
    Path("conf/nginx").mkdir(parents=True)
    assert "conf/nginx" not in command("--info", "searchpath").out
    Path("conf/loss").mkdir()
    assert f"file://{Path.cwd()}/conf" in command("--info", "searchpath").out
    assert "elsewhere" in command("--config-dir", "elsewhere", "--cfg", "job").err


def test_file_of_ones_own_does_not_replace_one_of_the_project(command: Callable[..., Any]) -> None:
    Path("conf/loss").mkdir(parents=True)
    Path("conf/loss/mcl.yaml").write_text("mine: 1\n")
    assert "mine" not in command("loss=mcl", "--cfg", "job", "-p", "loss").out
