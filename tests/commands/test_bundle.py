"""``python -m mcl bundle``: a run in one file, which replaces the run."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.small_runs import Outcome

import mcl
from mcl.__main__ import main
from mcl.deploy.detailed_evaluation import evaluate_run
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError


@pytest.fixture
def run(undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))


def test_a_bundle_has_the_same_bytes_each_time(run: Path) -> None:
    for name in ("one.zip", "two.zip", "three.zip"):
        assert main(["bundle", str(run), "--out", name]) == 0
    assert len({Path(name).read_bytes() for name in ("one.zip", "two.zip", "three.zip")}) == 1


def test_a_bundle_named_after_its_folder_does_not_replace_that_of_another_run(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert main(["bundle", str(run)]) == 0
    before = Path("run.zip").stat().st_mtime_ns
    monkeypatch.setattr(SavedRun, "hash", property(lambda self: str(self.source.path)))
    assert main(["bundle", str(run)]) == 1
    assert "run.zip is here already, and is not a bundle of this run. Name the file" in capsys.readouterr().err
    assert Path("run.zip").stat().st_mtime_ns == before
    assert main(["bundle", str(run), "--out", "run.zip"]) == 0


def test_a_bundle_named_after_its_folder_does_not_replace_another_archive(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.zip").write_bytes(b"photos")
    assert main(["bundle", str(run)]) == 1
    assert "run.zip is here already, and is not a bundle of this run. Name the file" in capsys.readouterr().err
    assert Path("run.zip").read_bytes() == b"photos"


def test_bundle_can_replace_its_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", str(run), "--out", "gift.zip"]) == 0
    with zipfile.ZipFile("gift.zip") as archive:
        assert set(archive.namelist()) == {
            *("config.yaml", "metrics.jsonl", "summary.json", "checkpoints/last.pt", "SHA256SUMS", "README.md"),
            *("backbones/first-resnet8.safetensors", "backbones/second-resnet8.safetensors"),
        }
        archive.extractall("unpacked")
    assert Path("gift.zip").stat().st_size < (run / "checkpoints" / "last.pt").stat().st_size
    before = {name: score.result() for name, score in evaluate_run(SavedRun(run)).items()}
    capsys.readouterr()
    shutil.rmtree(run)
    assert {name: score.result() for name, score in evaluate_run(SavedRun("gift.zip")).items()} == before
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(mcl.load("gift.zip", 1)(images), mcl.load("unpacked", "second")(images))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("image.png")
    assert main(["predict", "gift.zip", "image.png"]) == 0
    assert main(["export", "gift.zip", "--format", "torch"]) == 1
    assert "--out FOLDER" in capsys.readouterr().err
    assert main(["export", "gift.zip", "--format", "torch", "--out", "files"]) == 0
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd="unpacked", capture_output=True).returncode == 0


def test_a_run_with_altered_metrics_is_not_bundled(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One digit of one line would otherwise be given away as the run's own."""
    altered = tmp_path / "altered"
    shutil.copytree(run, altered)
    metrics = altered / "metrics.jsonl"
    first, rest = metrics.read_bytes().split(b'"step": 1', 1)
    metrics.write_bytes(first + b'"step": 2' + rest)
    assert main(["bundle", str(altered), "--out", str(tmp_path / "out.zip")]) == 1
    assert "metrics.jsonl is not what the run wrote" in capsys.readouterr().err
    assert not (tmp_path / "out.zip").exists()


def test_an_altered_bundle_is_refused(run: Path) -> None:
    main(["bundle", str(run), "--out", "gift.zip"])
    with zipfile.ZipFile("gift.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}

    def packed(**changed: bytes) -> str:
        with zipfile.ZipFile("other.zip", "w") as archive:
            for name, content in {**files, **changed}.items():
                archive.writestr(name, content)
        return "other.zip"

    SavedRun(packed())
    for name in ("config.yaml", "metrics.jsonl", "README.md"):
        with pytest.raises(UserError, match=rf"altered: {name}"):
            SavedRun(packed(**{name: files[name] + b"\n"}))
    with pytest.raises(UserError, match=r"altered: \.\./more"):
        SavedRun(packed(**{"../more": b""}))
    content = Path("gift.zip").read_bytes()
    for damaged in (
        content[:-30],
        content[: len(content) // 2],
        b"",
        content[:2000] + bytes([content[2000] ^ 1]) + content[2001:],
    ):
        Path("torn.zip").write_bytes(damaged)
        with pytest.raises(UserError, match=r"torn\.zip"):
            SavedRun("torn.zip")


def test_unfinished_run_is_not_bundled(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "summary.json").unlink()
    assert main(["bundle", str(run)]) == 1
    assert "let its training end" in capsys.readouterr().err
