"""Files as an attacker would send them, made from a stored run of four classes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from support.received import CANARY

from mcl.__main__ import main
from mcl.deploy.bundle import write_bundle
from mcl.deploy.formats import FORMATS
from mcl.deploy.release import write_release
from mcl.deploy.release_card import ReleaseFacts
from mcl.deploy.saved_run import SavedRun

STORED = Path(__file__).parents[1] / "golden" / "run-0.1.0"


@pytest.fixture(scope="session")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``run``, ``bundle.zip``, ``release`` and an exported file of each format."""
    folder = tmp_path_factory.mktemp("sent")
    shutil.copytree(STORED, folder / "run")
    Image.new("L", (8, 8)).save(folder / "image.png")
    saved = SavedRun(folder / "run")
    write_bundle(saved, folder / "bundle.zip")
    write_release(saved, folder / "release", ReleaseFacts("sent/release", "first", 1, {}))
    backbone, metadata = saved.deployable("first", "last")
    for name, form in FORMATS.items():
        if name == "onnx":
            pytest.importorskip("onnx")
        (folder / f"network{form.suffix}").write_bytes(form.encode(backbone, metadata))
    return folder


@pytest.fixture
def place(sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `sent`, which is the working folder."""
    folder = tmp_path / "place"
    shutil.copytree(sent, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``refused("predict", "run", "image.png")`` returns the one line that a command prints; its status must be 1."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        several = "No checkpoint can be used" in error  # a line for each
        assert several or error.count("\n") == 1, error
        assert error.replace("\n", "").isprintable(), error
        assert not Path(CANARY).exists()
        return error

    return run
