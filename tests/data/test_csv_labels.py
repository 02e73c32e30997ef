"""dataset=csv: images that a CSV file lists."""

import itertools
from pathlib import Path

import pytest
import torch
from PIL import Image

from mcl.data.csv_labels import CsvLabels
from mcl.data.labelled_rows import sort_classes
from mcl.errors import UserError

HEADER = "file,label,split"


@pytest.fixture
def write(tmp_path: Path):
    """``write(*lines)`` writes pictures/labels.csv beside images a0.png to a7.png, each of one gray value."""
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(8):
        Image.new("RGB", (4, 4), (number,) * 3).save(root / f"a{number}.png")

    def write(*lines: str) -> str:
        (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(root / "labels.csv")

    return write


SPLIT = (HEADER, *(f"a{i}.png,{'cat' if i % 2 else 'dog'},{'train' if i < 6 else 'val'}" for i in range(8)))


def error_of(file: str, **options) -> str:
    with pytest.raises(UserError) as error:
        CsvLabels(root=file, **options)
    return str(error.value)


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_images_labels_and_splits_are_those_of_the_file(write, storage):
    dataset = CsvLabels(root=write(*SPLIT), storage=storage, workers=0)
    assert dataset.spec.classes == ("cat", "dog")
    splits = dataset.load()
    assert splits.train.labels.tolist() == [1, 0, 1, 0, 1, 0]  # in the order of the names of the files
    assert splits.test.labels.tolist() == [1, 0]
    assert splits.validation is None
    if storage == "memory":
        assert splits.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    else:
        assert splits.train.path(1).name == "a1.png"


def test_columns_have_any_order_and_others_are_ignored(write):
    dataset = CsvLabels(root=write("Label,note,FILE", *(f'{i % 2},"x, y",a{i}.png' for i in range(8))))
    assert dataset.load().train.labels.bincount().tolist() == [3, 3]


def test_rows_without_train_are_for_evaluation_alone(write):
    dataset = CsvLabels(root=write(HEADER, *(f"a{i}.png,{'cat' if i % 2 else 'dog'},test" for i in range(8))))
    assert "has the splits test, but training needs train and test or val" in dataset.untrainable
    splits = dataset.load()
    assert (len(splits.train.labels), len(splits.test.labels)) == (0, 8)


def test_without_splits_a_part_of_each_class_is_drawn(write):
    lines = ["file,label", *(f"a{i}.png,{i % 2}" for i in range(8))]
    splits = CsvLabels(root=write(*lines), test_fraction=0.5).load()
    assert splits.train.labels.bincount().tolist() == splits.test.labels.bincount().tolist() == [2, 2]


def test_three_splits(write):
    names = ["train", "training", "valid", "Validation", "test", "testing"]
    splits = CsvLabels(root=write(HEADER, *(f"a{i}.png,{i % 2},{name}" for i, name in enumerate(names)))).load()
    assert splits.validation is not None
    assert splits.validation.images[:, 0, 0, 0].tolist() == [2, 3]
    assert splits.test.images[:, 0, 0, 0].tolist() == [4, 5]


def test_labels_that_are_numbers_are_sorted_by_value(write):
    lines = ["file,label", *(f"a{i}.png,{9 + i % 2}" for i in range(8))]
    assert CsvLabels(root=write(*lines)).spec.classes == ("9", "10")


def test_fingerprint_covers_labels_and_splits_and_not_the_order_of_lines(write):
    original = CsvLabels(root=write(*SPLIT)).fingerprint()
    assert CsvLabels(root=write(HEADER, *reversed(SPLIT[1:]))).fingerprint() == original
    other_labels = [line.replace("cat", "x").replace("dog", "cat").replace("x", "dog") for line in SPLIT]
    assert CsvLabels(root=write(*other_labels)).fingerprint() != original
    swapped = [*SPLIT[:1], SPLIT[1].replace("train", "val"), *SPLIT[2:7], SPLIT[7].replace("val", "train"), SPLIT[8]]
    assert CsvLabels(root=write(*swapped)).fingerprint() != original


def test_other_labels_reuse_the_decoded_images(write, decoded):
    first = CsvLabels(root=write(*SPLIT)).load().train.images
    again = CsvLabels(root=write(HEADER, *(line.replace("cat", "cow") for line in SPLIT[1:]))).load().train.images
    assert torch.equal(first, again)
    assert decoded == [8]


def test_damaged_image_is_skipped_by_choice(write):
    file = write(*SPLIT)
    Path(file).with_name("a2.png").write_text("x")
    dataset = CsvLabels(root=file, corrupt="skip")
    assert len(dataset.load().train.labels) == 5
    assert list(dataset.unreadable) == [str(Path(file).with_name("a2.png"))]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a0.png,cat"], "line 1: must name the columns file,label or file,label,split, but is a0.png,cat: file"),
        (["file,labels", "a0.png,cat"], "label is missing. Did you mean 'labels'?"),
        (["file,file,label"], "file is there twice"),
        (["file,label,split,split"], "split is there twice"),
        (["file,label", "a0.png,cat", "a1.png"], "line 3: a1.png has 1 of 2 columns"),
        (["file,label", "a0.png,cat", "a1.png,"], "line 3: the label is empty"),
        (["file,label", "", "none.png,cat"], "line 3: there is no file"),
        (["file,label", "a0.png,cat", "./a0.png,dog"], "line 3: a0.png is in line 2 already"),
        ([HEADER, "a0.png,cat,dev"], "line 2: split 'dev': must be train, val or test"),
        ([HEADER, "a0.png,cat,train", "a1.png,dog,train"], "has the splits train, but training needs train and"),
        ([*SPLIT[:8]], "has no image of class cat in split validation"),
        (["file,label", "a0.png,cat", "a1.png,cat"], "has cat as its only class"),
        (["file,label", "a0.png,cat", "a1.png,dog"], "dataset.test_fraction=0.2 splits each class"),
        (["file,label"], "names no image"),
        (["file,label", 'a0.png,"cat'], "not CSV"),
        ([""], "line 1: must name the columns file,label or file,label,split, but is empty"),
    ],
)
def test_errors_name_the_line_and_what_is_wrong(write, lines, message):
    error = error_of(write(*lines))
    assert message in error
    assert "labels.csv" in error
    assert "\n" not in error


@pytest.mark.parametrize("folder", ["../pictures", "{root}", "../pictures/../pictures/."])
def test_one_file_by_two_paths_is_noticed(folder, write, tmp_path):
    path = folder.format(root=tmp_path / "pictures") + "/a0.png"
    assert "a0.png is in line 2 already" in error_of(write(*SPLIT, f"{path},dog,val"))


def test_other_encoding_is_named_with_its_line(write):
    file = write("file,label")
    Path(file).write_bytes("file,label\na0.png,chât\n".encode("latin-1"))
    assert "line 2: not UTF-8" in error_of(file)


def test_byte_order_mark_of_spreadsheets_is_no_part_of_the_header(write):
    file = write(*SPLIT)
    Path(file).write_bytes(b"\xef\xbb\xbf" + Path(file).read_bytes())
    assert CsvLabels(root=file).spec.num_classes == 2


def test_missing_file_or_folder(write, tmp_path):
    assert "there is no such file. Give a CSV file" in error_of(str(tmp_path / "none.csv"))
    assert "It is a folder: dataset=folder reads those" in error_of(str(Path(write("")).parent))
    assert "use dataset.root=FILE.csv" in error_of("")


def test_an_image_is_not_read_as_a_list(tmp_path):
    (tmp_path / "cat.JPG").write_bytes(b"\xff\xd8")
    assert "cat.JPG is an image. Give the folder of all images" in error_of(str(tmp_path / "cat.JPG"))


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_table_with_another_separator_is_named(tmp_path, separator, name):
    (tmp_path / "labels.csv").write_text(f"File{separator}Label\n0.png{separator}cat\n")
    with pytest.raises(UserError, match=f"line 1: {name} separate its columns. Save the file with commas"):
        CsvLabels(root=str(tmp_path / "labels.csv"))


def test_classes_of_equal_value_have_one_order():
    names = ["1", "01", "001", "0001", "2"]
    assert {sort_classes(order) for order in itertools.permutations(names)} == {("0001", "001", "01", "1", "2")}
