"""``python -m mcl inspect``."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.pictures import photo_folder

from mcl.__main__ import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folders = {f"{split}/{name}": 3 for split in ("train", "val") for name in ("<b>cat", "dog")}
    root = photo_folder(tmp_path / "pets", folders)
    shutil.copy(root / "train/dog/0.png", root / "val/dog/same.png")
    return root


def test_status_is_zero_with_findings_and_the_text_says_what_to_do(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(root)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 picture of test is in train too (1 with the same pixels, 0 nearly the same)" in shown
    assert "val/dog/same.png = train/dog/0.png. Remove such pictures from train" in shown
    assert "<b>cat 3 3 dog 3 4 all 6 7" in shown


def test_every_output_is_written(root: Path, tmp_path: Path) -> None:
    out = {name: tmp_path / name for name in ("a.json", "a.html", "a.csv", "a.png")}
    options = zip(("--json", "--html", "--list", "--sheet"), map(str, out.values()), strict=True)
    assert main(["inspect", str(root), *(word for pair in options for word in pair)]) == 0
    record = json.loads(out["a.json"].read_text())
    assert record["counts"] == {"<b>cat": {"train": 3, "test": 3}, "dog": {"train": 3, "test": 4}}
    leak = {"file": "val/dog/same.png", "split": "test", "class": "dog", "detail": "train/dog/0.png"}
    assert record["findings"][0]["files"] == [leak]
    assert len(record["pictures"]) == 13
    (line,) = csv.DictReader(out["a.csv"].open())
    assert line == {"finding": "leak from train to test", **leak}
    with Image.open(out["a.png"]) as sheet:
        assert sheet.format == "PNG"
    page = out["a.html"].read_text()
    assert "<b>cat" not in page
    assert "&lt;b&gt;cat" in page
    assert page.count("data:image/png;base64,") == 2
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "default-src 'none'" in page


def test_the_inspected_file_is_not_replaced(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = root / "labels.csv"
    labels.write_text("file,label\ntrain/dog/0.png,dog\n")
    assert main(["inspect", str(labels), "--list", str(labels)]) == 1
    assert f"--list {labels}: this is the file to inspect" in capsys.readouterr().err
    assert labels.read_text() == "file,label\ntrain/dog/0.png,dog\n"


def test_hostile_names_and_files(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(root / "train/dog/1.png", root / "train/dog/\x1b[31mred\n.png")
    shutil.copy(root / "train/dog/2.png", os.fsencode(root / "train/dog") + b"/\xff.png")
    os.mkfifo(root / "train/dog/pipe.png")
    Image.new("RGB", (1_000, 1)).save(root / "train/dog/thin.png")
    Image.new("1", (20_000, 20_000)).save(root / "train/dog/bomb.png")
    outputs = [
        "--json",
        str(tmp_path / "a.json"),
        "--list",
        str(tmp_path / "a.csv"),
        "--html",
        str(tmp_path / "a.html"),
    ]
    assert main(["inspect", str(root), *outputs]) == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    text = " ".join(shown.out.split())
    assert r"\x1b[31mred\n.png" in text
    assert "pipe.png is not a file" in text
    assert "exceeds limit" in text
    assert "\x1b" not in (tmp_path / "a.html").read_text() + (tmp_path / "a.csv").read_text()


def test_cell_that_a_spreadsheet_would_compute_is_marked(root: Path, tmp_path: Path) -> None:
    photo_folder(root, {"train/=1+1": 1, "val/=1+1": 1}, first=50)
    shutil.copy(root / "train/=1+1/0.png", root / "val/=1+1/0.png")
    assert main(["inspect", str(root), "--list", str(tmp_path / "a.csv")]) == 0
    assert "'=1+1" in [line["class"] for line in csv.DictReader((tmp_path / "a.csv").open())]


def test_nothing_is_cut_off_on_a_narrow_terminal(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["inspect", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert "val/dog/same.png" in shown
    assert max(map(len, shown.splitlines())) <= 40


def test_many_classes_are_cut_in_the_text_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "many"
    for number in range(25):
        (root / f"{number:02}").mkdir(parents=True)
        for copy in range(2):
            Image.new("RGB", (2, 2), (number, copy, 0)).save(root / f"{number:02}" / f"{copy}.png")
    assert main(["inspect", str(root), "--json", str(tmp_path / "a.json")]) == 0
    assert "and 5 more" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "a.json").read_text())["counts"]) == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/nowhere"], "no such folder"),
        (["{}", "--distance", "20"], "--distance 20: must be from -1 to 12"),
        (["{}", "--json", "{}"], "this is a folder"),
        (["{}", "--html", "{}/none/a.html"], "there is no folder"),
    ],
)
def test_mistakes_are_one_line(
    root: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", *(word.format(root) for word in arguments)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_long_work_is_announced(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mcl.console.ANNOUNCE_AFTER", 0.0)
    assert main(["inspect", str(root)]) == 0
    assert "Reading the images of pets" in capsys.readouterr().err
