"""The files of an inspected folder, in the splits and classes that dataset=folder gives them."""

from pathlib import Path

import pytest
from support.pictures import photo_folder

from mcl.data.folder import Folder
from mcl.errors import UserError
from mcl.inspection.inspected_files import find_files


@pytest.mark.parametrize("splits", [["train/", "val/"], ["train/", "val/", "test/"], [""]])
def test_splits_and_classes_are_those_of_training(tmp_path: Path, splits: list[str]) -> None:
    root = photo_folder(tmp_path / "pets", {f"{split}{name}": 5 for split in splits for name in ("cat", "dog")})
    listing = Folder(root=str(root), image_size=8).listing
    files = find_files(root)
    seen = {(path, split) for path, split in zip(files.paths, files.splits, strict=True)}
    parts = {"train": listing.train, "test": listing.test, "validation": listing.validation}
    assert seen == {(path, split) for split, part in parts.items() if part for path in part.paths}
    assert {Path(path).parent.name for path in files.paths} == set(files.classes) == {"cat", "dog"}
    assert not files.refused


def test_note_says_which_folder_is_the_test_split(tmp_path: Path) -> None:
    root = photo_folder(tmp_path / "pets", {f"{split}/{name}": 2 for split in ("train", "val") for name in "ab"})
    assert find_files(root).note == "val is the test split, since there is no other"


def test_note_says_that_the_test_split_is_drawn(tmp_path: Path) -> None:
    assert "drawn at random" in find_files(photo_folder(tmp_path / "pets", {"a": 2, "b": 2})).note


def test_images_outside_the_splits_are_counted(tmp_path: Path) -> None:
    folders = {f"{split}/{name}": 1 for split in ("train", "val", "spare") for name in "ab"}
    assert "2 images lie outside" in find_files(photo_folder(tmp_path / "pets", folders)).note


def test_folder_that_training_refuses_is_read_by_the_names_of_its_folders(tmp_path: Path) -> None:
    root = photo_folder(tmp_path / "pets", {"train/cat": 2, "train/cow": 2, "Val/dog": 1, "train": 1, "spare/x": 1})
    files = find_files(root)
    assert "same class folders" in files.refused
    named = dict(zip(files.paths, zip(files.splits, files.classes, strict=True), strict=True))
    assert named["train/cat/0.png"] == ("train", "cat")
    assert named["Val/dog/0.png"] == ("validation", "dog")
    assert named["train/0.png"] == ("train", "(none)")
    assert named["spare/x/0.png"] == ("all", "spare")


def test_other_files_are_counted_by_extension(tmp_path: Path) -> None:
    root = photo_folder(tmp_path / "pets", {"a": 2, "b": 2})
    for name in ("a/x.txt", "b/y.txt", "b/README"):
        (root / name).touch()
    assert find_files(root).ignored == {".txt": 2, "without extension": 1}


@pytest.mark.parametrize(
    ("made", "message"), [(False, "no such folder"), (True, "no image in this folder, but 1 .txt")]
)
def test_nothing_to_inspect(tmp_path: Path, made: bool, message: str) -> None:
    root = tmp_path / "pets"
    if made:
        root.mkdir()
        (root / "a.txt").touch()
    with pytest.raises(UserError, match=message):
        find_files(root)


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    photo_folder(tmp_path, {"elsewhere/a": 2, "pets/b": 2})
    (tmp_path / "pets" / "a").symlink_to(tmp_path / "elsewhere" / "a")
    assert len(find_files(tmp_path / "pets").paths) == 4


def test_csv_file_is_read_as_training_reads_it(tmp_path: Path) -> None:
    photo_folder(tmp_path, {"a": 6})
    lines = [
        "file,label,split",
        *(f"a/{i}.png,{'cat' if i % 2 else 'dog'},{'train' if i < 4 else 'val'}" for i in range(6)),
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    files = find_files(tmp_path / "labels.csv")
    assert files.paths == [f"a/{i}.png" for i in (1, 3, 0, 2, 5, 4)]
    assert files.classes == ["cat", "cat", "dog", "dog", "cat", "dog"]
    assert files.splits == ["train"] * 4 + ["test"] * 2
    (tmp_path / "labels.csv").write_text("\n".join(lines[:3]))
    assert "needs train and test" in find_files(tmp_path / "labels.csv").refused
