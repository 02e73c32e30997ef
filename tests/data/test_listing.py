"""The layouts of image folders: splits, classes, links, and errors that name what is missing."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.image_folders import error_of, pixels

from mcl.data.folder import Folder
from mcl.inspection.inspected_files import find_files


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("train", "val"), ("Train", "Valid"), ("training", "validation")]
)
def test_train_and_test_trees(make_tree, train, test):
    root = make_tree((train, test), ("dog", "cat"))
    dataset = Folder(root=str(root))
    assert dataset.spec.name == "pets"
    assert dataset.spec.classes == ("cat", "dog")
    assert dataset.spec.counts == (5, 5)
    assert dataset.spec.image_size == 8
    assert not dataset.spec.has_validation
    splits = dataset.load()
    for part, images in ((train, splits.train), (test, splits.test)):
        assert images.labels.tolist() == [0] * 5 + [1] * 5
        expected = [pixels(root / part / name / f"{n}.png") for name in ("cat", "dog") for n in range(5)]
        assert torch.equal(images.images, torch.stack(expected))
    assert splits.validation is None


def test_val_beside_test_is_the_validation_split(make_tree):
    root = make_tree(("train", "val", "test"))
    dataset = Folder(root=str(root))
    splits = dataset.load()
    assert dataset.spec.has_validation
    assert torch.equal(splits.validation.images[0], pixels(root / "val" / "cat" / "0.png"))
    assert torch.equal(splits.test.images[0], pixels(root / "test" / "cat" / "0.png"))
    assert "dataset.validation=0" in error_of(root=str(root), validation=0.2)


def test_test_split_without_labels_is_ignored(make_tree):
    root = make_tree(("train", "val"))
    (root / "test" / "images").mkdir(parents=True)
    shutil.copy(root / "val" / "cat" / "0.png", root / "test" / "images")
    dataset = Folder(root=str(root))
    splits = dataset.load()
    assert splits.validation is None
    assert torch.equal(splits.test.images[0], pixels(root / "val" / "cat" / "0.png"))
    assert dataset.notes == [f"{root}: the splits are train, val; not used: test."]


def test_two_folders_of_one_split_are_noted(make_tree):
    root = make_tree(("train", "Train", "training", "test"))
    dataset = Folder(root=str(root))
    assert dataset.spec.counts == (5, 5)
    assert dataset.notes == [f"{root}: the splits are train, test; not used: Train, training."]
    for other in ("Train", "training"):
        shutil.rmtree(root / other)
    assert Folder(root=str(root)).notes == []


def test_single_tree_is_split_class_by_class(make_tree):
    root = make_tree(("",), count=10)
    splits = Folder(root=str(root), test_fraction=0.3).load()
    assert splits.train.labels.bincount().tolist() == [7, 7]
    assert splits.test.labels.bincount().tolist() == [3, 3]
    rows = torch.cat([splits.train.images, splits.test.images]).flatten(1)
    assert len(rows.unique(dim=0)) == 20
    again, other = (Folder(root=str(root), test_fraction=0.3, seed=seed).load() for seed in (0, 1))
    assert torch.equal(again.test.images, splits.test.images)
    assert not torch.equal(other.test.images, splits.test.images)


def test_every_image_keeps_its_label_under_any_selection(make_tree):
    root = make_tree(("",), ("a", "a-b", "a0", "b"), count=9)
    owner = {pixels(path).numpy().tobytes(): path.parent.name for path in root.rglob("*.png")}
    dataset = Folder(root=str(root), validation=0.3, limit=4)
    for part in dataset.load():
        names = [owner[image.numpy().tobytes()] for image in part.images]
        assert names == [dataset.spec.classes[label] for label in part.labels.tolist()]


def test_images_may_be_nested_and_other_files_are_ignored(make_tree):
    root = make_tree()
    deep = root / "train" / "cat" / "images"
    deep.mkdir()
    shutil.move(root / "train" / "cat" / "0.png", deep / "0.PNG")
    for name in ("classes.txt", ".DS_Store", "train/Thumbs.db", "train/cat/Thumbs.db", "train/cat/._1.png"):
        (root / name).write_text("no image")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    dataset = Folder(root=str(root))
    assert dataset.spec.counts == (5, 5)
    assert len(dataset.load().train.labels) == 10


@pytest.mark.parametrize("targets", [("..",), (".",), ("../../..",), ("up", "..")], ids=str)
def test_link_to_a_parent_folder_adds_no_images(make_tree, targets):
    root = make_tree()
    for name, target in zip(("loop", "up"), targets, strict=False):
        (root / "train" / "cat" / name).symlink_to(target)
    dataset = Folder(root=str(root))
    assert dataset.spec.counts == (5, 5)
    assert {path.split("/")[1] for path in dataset.listing.train.paths[:5]} == {"cat"}


def test_circular_links_end(make_tree):
    root = make_tree()
    for name, other in (("cat", "dog"), ("dog", "cat")):
        (root / "train" / name / "others").symlink_to(f"../{other}")
    assert Folder(root=str(root)).spec.counts == (10, 10)


def test_links_to_folders_elsewhere_are_followed(make_tree):
    root = make_tree()
    shutil.move(root / "train" / "cat", root.parent / "cats")
    (root / "train" / "cat").symlink_to("../../cats")
    assert Folder(root=str(root)).spec.counts == (5, 5)


def test_class_folder_that_links_to_its_parent_is_ignored(make_tree):
    root = make_tree()
    (root / "train" / "all").symlink_to(".")
    assert Folder(root=str(root)).spec.classes == ("cat", "dog")


def test_missing_root_is_named(tmp_path):
    assert "dataset.root" in error_of(root=None)
    assert str(tmp_path / "nowhere") in error_of(root=str(tmp_path / "nowhere"))


def test_folder_without_images_is_named(make_tree):
    root = make_tree(count=0)
    assert f"No images in the class folders of {root / 'train'}" in error_of(root=str(root))
    (root / "empty").mkdir()
    message = error_of(root=str(root / "empty"))
    assert f"No images in the class folders of {root / 'empty'}" in message
    assert "must lie" not in message


def test_images_without_class_folders_are_counted(make_tree):
    root = make_tree()
    assert "Its 5 images must lie in a folder for each class." in error_of(root=str(root / "train" / "cat"))


def test_empty_class_is_named(make_tree):
    root = make_tree(classes=("cat", "dog", "owl"))
    for path in (root / "test" / "dog").iterdir():
        path.unlink()
    message = error_of(root=str(root))
    assert str(root / "test") in message
    assert "dog" in message
    assert "cat" not in message


def test_classes_of_only_one_split_are_named(make_tree):
    root = make_tree(classes=("cat", "dog", "owl"))
    shutil.rmtree(root / "test" / "dog")
    (root / "test" / "elk").mkdir()
    message = error_of(root=str(root))
    assert "only in train/: dog" in message
    assert "only in test/: elk" in message
    assert "owl" not in message


def test_accents_of_two_splits_may_be_spelled_in_two_ways(make_tree):
    """A Mac spells é as a letter and an accent, which sorts before cafz; as one character it sorts behind."""
    make_tree(("train",), ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafz"))
    root = make_tree(("test",), ("cafe\N{COMBINING ACUTE ACCENT}", "cafz"))
    dataset = Folder(root=str(root))
    assert dataset.spec.classes == ("cafz", "caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    test = dataset.load().test
    folders = ("cafz", "cafe\N{COMBINING ACUTE ACCENT}")
    expected = [pixels(root / "test" / name / f"{n}.png") for name in folders for n in range(5)]
    assert torch.equal(test.images[test.labels.argsort(stable=True)], torch.stack(expected))


def test_error_for_train_without_test_split_explains_how_to_split(make_tree):
    root = make_tree(("train",))
    message = error_of(root=str(root))
    assert f"dataset.root={root / 'train'}" in message
    assert "dataset.test_fraction" in message
    assert len(Folder(root=str(root / "train")).load().test.labels) == 2


@pytest.mark.parametrize("storage", ["memory", "disk"])
@pytest.mark.parametrize(("parts", "validation"), [(("val",), 0.2), (("val", "test"), 0.0)])
def test_splits_without_train_are_for_evaluation_alone(make_tree, parts, validation, storage):
    dataset = Folder(root=str(make_tree(parts)), validation=validation, limit=1, storage=storage, workers=0)
    assert dataset.untrainable == (
        f"dataset.root={dataset.root} has {parts[-1]}/ but no train/ folder. Add one or, if {parts[-1]} is a class,"
        " rename its folder."
    )
    assert (dataset.spec.counts, dataset.notes) == ((0, 0), [])
    splits = dataset.load()
    assert len(splits.train.labels) == 0
    assert splits.test.labels.tolist() == [0] * 5 + [1] * 5
    assert (splits.validation is None) == (len(parts) == 1)


def test_whole_tree_is_evaluated_by_choice(make_tree):
    root = make_tree(("",))
    dataset = Folder(root=str(root), test_fraction=1)
    assert "test_fraction=1: leaves no image to train on" in dataset.untrainable
    assert len(dataset.load().test.labels) == 10
    assert dataset.drawn_fraction is None
    drawn = Folder(root=str(root), test_fraction=0.4)
    assert (drawn.drawn_fraction, drawn.untrainable) == (0.4, "")
    assert drawn.fingerprint() == dataset.fingerprint()


def test_class_of_one_image_cannot_be_split(make_tree):
    root = make_tree(("",), ("cat", "dog"))
    for number in range(1, 5):
        (root / "dog" / f"{number}.png").unlink()
    message = error_of(root=str(root))
    assert "dog" in message
    assert "cat" not in message
    assert "dataset.test_fraction" in message


def test_single_class_suggests_the_folder_below(make_tree):
    root = make_tree()
    assert f"dataset.root={root}" in error_of(root=str(root.parent))


def test_single_class_of_images_suggests_no_folder(make_tree):
    root = make_tree(("",), ("cat",))
    message = error_of(root=str(root))
    assert "has only one class folder, cat/" in message
    assert "Did you mean" not in message


def test_classes_of_nested_folders_are_noted(make_tree):
    root = make_tree(("x", "y"), ("a", "b"))
    for folder in ("x", "y"):
        shutil.move(root / folder, root / f"own_{folder}")
    dataset = Folder(root=str(root))
    assert dataset.spec.classes == ("own_x", "own_y")
    (note,) = dataset.notes
    assert "the classes are own_x, own_y" in note
    assert "own_x/a, own_x/b, own_y/a and 1 more) are not classes" in note


@pytest.mark.parametrize("parts", [("",), ("train", "test")])
def test_plain_class_folders_have_no_note(make_tree, parts):
    root = make_tree(parts)
    assert Folder(root=str(root)).notes == []
    next(root.rglob("cat")).joinpath("more").mkdir()
    next(root.rglob("cat/0.png")).rename(next(root.rglob("cat/more")) / "0.png")
    assert Folder(root=str(root)).notes == [], "one subfolder of a class is no doubt about the classes"


def test_last_folder_names_the_class_by_choice(tmp_path):
    for place in ("2023/cat", "2024/cat", "2024/trip/dog", "2023/dog"):
        (tmp_path / "pets" / place).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (4, 4), (number,) * 3).save(tmp_path / "pets" / place / f"{number}.png")
    first = Folder(root=str(tmp_path / "pets"))
    assert first.spec.classes == ("2023", "2024")
    last = Folder(root=str(tmp_path / "pets"), class_folder="last")
    assert last.spec.classes == ("cat", "dog")
    assert sum(last.spec.counts) + len(last.listing.test.paths) == 12
    assert not last.notes
    assert "dataset.class_folder=middle" in error_of(root=str(tmp_path / "pets"), class_folder="middle")


def test_last_folder_names_the_class_below_splits(tmp_path):
    for place in ("train/a/cat", "train/b/dog", "val/cat", "val/c/dog"):
        (tmp_path / "pets" / place).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "pets" / place / "1.png")
    listing = Folder(root=str(tmp_path / "pets"), class_folder="last").listing
    assert listing.classes == ("cat", "dog")
    assert listing.test.paths == ["val/cat/1.png", "val/c/dog/1.png"]


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_class_that_is_named_like_a_split_is_to_be_renamed(make_tree, name):
    assert f"if {name} is a class, rename its folder" in error_of(root=str(make_tree([""], [name, "bus"])))


def test_pictures_as_windows_names_them_are_taken(make_tree):
    root = make_tree()
    Image.new("RGB", (8, 8)).save(root / "train" / "cat" / "photo.JFIF", "JPEG")
    assert Folder(root=str(root)).spec.counts == (6, 5)


def test_a_folder_whose_name_begins_like_that_of_a_home_is_a_folder(make_tree, monkeypatch):
    root = make_tree()
    root = root.rename(root.parent / "~old")
    monkeypatch.chdir(root.parent)
    assert Folder(root="~old").root == root
    assert find_files(Path("~old")).root == root
