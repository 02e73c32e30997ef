"""Findings of an inspection: leaks, copies, conflicts, damage, imbalance."""

import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.pictures import photo_folder, picture

from mcl.errors import UserError
from mcl.inspection.inspection import Inspection, inspect_images
from mcl.inspection.problems import Finding, findings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photo_folder(
        tmp_path / "pets", {f"{split}/{name}": 4 for split in ("train", "val") for name in ("cat", "dog")}
    )


def found(root: Path) -> dict[str, Finding]:
    return {finding.kind: finding for finding in findings(inspect_images(root))}


def files(inspection: Inspection, finding: Finding) -> dict[str, str]:
    return {inspection.files.paths[position]: detail for position, detail in finding.files}


def test_clean_folder_has_none(root: Path) -> None:
    assert found(root) == {}


def test_leaks_are_named_with_the_picture_they_equal(root: Path) -> None:
    shutil.copy(root / "train/cat/0.png", root / "val/cat/same.png")
    Image.open(root / "train/cat/1.png").resize((40, 30)).save(root / "val/cat/small.jpg")
    inspection = inspect_images(root)
    (leak,) = findings(inspection)
    assert leak.kind == "leak from train to test"
    assert leak.text.startswith("2 pictures of test are in train too (1 with the same pixels, 1 nearly the same)")
    assert files(inspection, leak) == {"val/cat/same.png": "train/cat/0.png", "val/cat/small.jpg": "train/cat/1.png"}


def test_leak_with_three_splits_names_the_pair_of_splits(root: Path) -> None:
    photo_folder(root, {"test/cat": 2, "test/dog": 2}, first=100)
    shutil.copy(root / "val/dog/0.png", root / "test/dog/copy.png")
    assert list(found(root)) == ["leak from validation to test"]


def test_leak_across_classes_is_a_conflict_too(root: Path) -> None:
    shutil.copy(root / "train/cat/0.png", root / "val/dog/same.png")
    conflict = found(root)["several classes"]
    assert "train/cat/0.png = val/dog/same.png" in conflict.text
    assert len(conflict.files) == 2


def test_copies_within_a_split_are_counted_less_the_first(root: Path) -> None:
    for name in ("a.png", "b.png"):
        shutil.copy(root / "train/cat/0.png", root / "train/cat" / name)
    picture(0).resize((40, 30)).save(root / "train/cat/small.png")
    inspection = inspect_images(root)
    (copies,) = findings(inspection)
    assert copies.text.startswith(
        "3 pictures of train are copies of others (2 with the same pixels, 1 nearly the same)"
    )
    assert set(files(inspection, copies)) == {"train/cat/a.png", "train/cat/b.png", "train/cat/small.png"}


def test_damaged_files_are_listed_once_with_the_reason(root: Path) -> None:
    (root / "train/cat/text.png").write_text("hello")
    cut = root / "train/dog/cut.png"
    cut.write_bytes((root / "train/dog/0.png").read_bytes()[:60])
    inspection = inspect_images(root)
    (damaged,) = findings(inspection)
    assert files(inspection, damaged).keys() == {"train/cat/text.png", "train/dog/cut.png"}
    assert files(inspection, damaged)["train/cat/text.png"] == "no image, or one of an unknown format"
    assert inspection.counts == {name: {"train": 4, "test": 4} for name in ("cat", "dog")}


def test_imbalance_names_both_classes(tmp_path: Path) -> None:
    few = found(photo_folder(tmp_path / "few", {"cat": 10, "dog": 2}))
    assert "cat has 8 pictures, 8.0 times as many as dog with 1" in few["imbalance"].text
    assert "imbalance" not in found(photo_folder(tmp_path / "even", {"cat": 5, "dog": 4}))


def test_long_pictures_lose_more_than_half(root: Path) -> None:
    picture(50, (100, 49)).save(root / "train/cat/long.png")
    picture(51, (100, 50)).save(root / "train/cat/twice.png")
    assert [detail for _, detail in found(root)["long"].files] == ["100 x 49 pixels"]


def test_refused_folder_is_a_finding_and_still_inspected(tmp_path: Path) -> None:
    root = photo_folder(tmp_path / "pets", {"train/cat": 2, "train/cow": 1, "val/dog": 1})
    shutil.copy(root / "train/cat/0.png", root / "val/dog/same.png")
    kinds = found(root)
    assert "must have the same class folders" in kinds["refused"].text
    assert "leak from train to validation" in kinds


def test_folder_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_text("x")
    with pytest.raises(UserError, match=r"none of 1 images can be read. The first: cat/a.png \(no image"):
        inspect_images(tmp_path)


def test_mean_and_deviation_are_those_of_the_training_pixels(tmp_path: Path) -> None:
    root = photo_folder(tmp_path / "pets", {"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1})
    Image.new("RGB", (8, 8), (0, 51, 255)).save(root / "train/a/0.png")
    Image.new("RGB", (4, 4), (255, 51, 255)).save(root / "train/b/0.png")
    mean, deviation = inspect_images(root).mean_and_deviation
    assert mean == pytest.approx([0.5, 0.2, 1.0])
    assert deviation == pytest.approx([0.5, 0.0, 0.0], abs=1e-6)
