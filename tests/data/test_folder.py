"""Folders of images: trees, errors, cache."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mcl.data import contents as contents_module
from mcl.data import folder as folder_module
from mcl.data.folder import Folder
from mcl.errors import UserError


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """How many images each decoding had."""
    counts: list[int] = []
    decode_all = folder_module.decode_all

    def counted(paths, *args, **options):
        counts.append(len(paths))
        return decode_all(paths, *args, **options)

    monkeypatch.setattr(folder_module, "decode_all", counted)
    return counts


@pytest.fixture
def old_files(monkeypatch) -> None:
    """No file counts as changed a moment ago."""
    monkeypatch.setattr(contents_module, "_JUST_CHANGED", -(10**18))


def error_of(**options) -> str:
    with pytest.raises(UserError) as error:
        Folder(**options).load()
    return str(error.value)


# Trees


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


def test_val_beside_test_is_the_validation_part(make_tree):
    root = make_tree(("train", "val", "test"))
    dataset = Folder(root=str(root))
    splits = dataset.load()
    assert dataset.spec.has_validation
    assert torch.equal(splits.validation.images[0], pixels(root / "val" / "cat" / "0.png"))
    assert torch.equal(splits.test.images[0], pixels(root / "test" / "cat" / "0.png"))
    assert "dataset.validation=0" in error_of(root=str(root), validation=0.2)


def test_test_part_without_labels_is_ignored(make_tree):
    root = make_tree(("train", "val"))
    (root / "test" / "images").mkdir(parents=True)
    shutil.copy(root / "val" / "cat" / "0.png", root / "test" / "images")
    splits = Folder(root=str(root)).load()
    assert splits.validation is None
    assert torch.equal(splits.test.images[0], pixels(root / "val" / "cat" / "0.png"))


def test_single_tree_is_cut_class_by_class(make_tree):
    root = make_tree(("",), count=10)
    splits = Folder(root=str(root), test_fraction=0.3).load()
    assert splits.train.labels.bincount().tolist() == [7, 7]
    assert splits.test.labels.bincount().tolist() == [3, 3]
    rows = torch.cat([splits.train.images, splits.test.images]).flatten(1)
    assert len(rows.unique(dim=0)) == 20
    again, other = (Folder(root=str(root), test_fraction=0.3, seed=seed).load() for seed in (0, 1))
    assert torch.equal(again.test.images, splits.test.images)
    assert not torch.equal(other.test.images, splits.test.images)


def test_every_image_keeps_its_label_whatever_is_chosen(make_tree):
    root = make_tree(("",), ("a", "a-b", "a0", "b"), count=9)
    owner = {pixels(path).numpy().tobytes(): path.parent.name for path in root.rglob("*.png")}
    dataset = Folder(root=str(root), validation=0.3, limit=4)
    for part in dataset.load():
        names = [owner[image.numpy().tobytes()] for image in part.images]
        assert names == [dataset.spec.classes[label] for label in part.labels.tolist()]


def test_images_may_lie_deeper_and_other_files_do_not_count(make_tree):
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
def test_link_to_a_folder_it_lies_in_adds_no_images(make_tree, targets):
    root = make_tree()
    for name, target in zip(("loop", "up"), targets, strict=False):
        (root / "train" / "cat" / name).symlink_to(target)
    dataset = Folder(root=str(root))
    assert dataset.spec.counts == (5, 5)
    assert {path.split("/")[1] for path in dataset.listing.train.paths[:5]} == {"cat"}


def test_links_in_a_circle_end(make_tree):
    root = make_tree()
    for name, other in (("cat", "dog"), ("dog", "cat")):
        (root / "train" / name / "others").symlink_to(f"../{other}")
    assert Folder(root=str(root)).spec.counts == (10, 10)


def test_links_to_folders_elsewhere_are_followed(make_tree):
    root = make_tree()
    shutil.move(root / "train" / "cat", root.parent / "cats")
    (root / "train" / "cat").symlink_to("../../cats")
    assert Folder(root=str(root)).spec.counts == (5, 5)


def test_class_folder_that_is_a_link_to_its_parent_is_no_class(make_tree):
    root = make_tree()
    (root / "train" / "all").symlink_to(".")
    assert Folder(root=str(root)).spec.classes == ("cat", "dog")


def test_size_and_channels_are_as_asked(make_tree):
    splits = Folder(root=str(make_tree()), image_size=5, channels=1).load()
    assert splits.train.images.shape == (10, 1, 5, 5)


def test_no_image_is_decoded_before_load(make_tree, monkeypatch):
    root = make_tree()
    monkeypatch.setattr(Image.Image, "load", None)
    dataset = Folder(root=str(root))
    assert dataset.spec.counts == (5, 5)
    assert dataset.fingerprint()


def test_limit_decodes_only_what_it_keeps(make_tree, decoded):
    dataset = Folder(root=str(make_tree()), limit=2)
    assert dataset.load().train.labels.bincount().tolist() == list(dataset.spec.counts) == [2, 2]
    assert decoded == [2 * 2 + 10]


# Errors


def test_missing_root_is_named(tmp_path):
    assert "dataset.root" in error_of(root=None)
    assert str(tmp_path / "nowhere") in error_of(root=str(tmp_path / "nowhere"))


def test_folder_without_images_is_named(make_tree):
    root = make_tree(count=0)
    assert f"No images in {root / 'train'}" in error_of(root=str(root))
    (root / "empty").mkdir()
    assert "No images in" in error_of(root=str(root / "empty"))


def test_empty_class_is_named(make_tree):
    root = make_tree(classes=("cat", "dog", "owl"))
    for path in (root / "test" / "dog").iterdir():
        path.unlink()
    message = error_of(root=str(root))
    assert str(root / "test") in message
    assert "dog" in message
    assert "cat" not in message


def test_classes_of_one_part_only_are_named(make_tree):
    root = make_tree(classes=("cat", "dog", "owl"))
    shutil.rmtree(root / "test" / "dog")
    (root / "test" / "elk").mkdir()
    message = error_of(root=str(root))
    assert "only in train/: dog" in message
    assert "only in test/: elk" in message
    assert "owl" not in message


def test_train_without_test_part_says_how_to_split_it(make_tree):
    root = make_tree(("train",))
    message = error_of(root=str(root))
    assert f"dataset.root={root / 'train'}" in message
    assert "dataset.test_fraction" in message
    assert len(Folder(root=str(root / "train")).load().test.labels) == 2


def test_test_part_without_train_is_an_error(make_tree):
    assert "has val/ but no train/" in error_of(root=str(make_tree(("val",))))


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


def test_first_image_that_is_not_square_asks_for_a_size(make_tree):
    root = make_tree()
    Image.new("RGB", (9, 8)).save(root / "train" / "cat" / "0.png")
    message = error_of(root=str(root))
    assert "9 x 8" in message
    assert "dataset.image_size" in message


def test_unreadable_files_stop_and_are_named(make_tree):
    root = make_tree()
    (root / "train" / "cat" / "1.png").write_text("a text")
    whole = (root / "test" / "dog" / "2.png").read_bytes()
    (root / "test" / "dog" / "2.png").write_bytes(whole[: len(whole) // 2])
    message = error_of(root=str(root))
    assert str(root / "train" / "cat" / "1.png") in message
    assert str(root / "test" / "dog" / "2.png") in message
    assert "dataset.corrupt=skip" in message


def test_unreadable_files_are_skipped_and_counted_when_told_to(make_tree, caplog, decoded):
    root = make_tree()
    (root / "train" / "cat" / "1.png").write_text("a text")
    for _ in range(2):  # decoded, then from the cache
        splits = Folder(root=str(root), corrupt="skip").load()
        assert splits.train.labels.tolist() == [0] * 4 + [1] * 5
        assert torch.equal(splits.train.images[1], pixels(root / "train" / "cat" / "2.png"))
        assert "skipped 1 unreadable of 20 files" in caplog.messages[-1]
    assert decoded == [20]
    assert "1.png" in error_of(root=str(root), corrupt="stop")  # the cache of another choice hides nothing


@pytest.mark.parametrize("storage", ["memory", "disk"])
@pytest.mark.parametrize("times", [0, 1], ids=["at first", "later"])
def test_failure_of_the_file_system_is_neither_skipped_nor_kept(make_tree, monkeypatch, times, storage):
    root = make_tree()
    opened = 0

    def failing(file, *args, **options):
        nonlocal opened
        if str(file) == str(root / "train" / "cat" / "1.png"):
            opened += 1
            if opened == times + 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(file))
        return plain_open(file, *args, **options)

    plain_open = open
    monkeypatch.setattr("builtins.open", failing)
    monkeypatch.setattr("io.open", failing)
    message = error_of(root=str(root), image_size=8, corrupt="skip", storage=storage)
    assert f"Cannot read {root / 'train' / 'cat' / '1.png'} (Too many open files)" in message
    assert len(Folder(root=str(root), image_size=8, corrupt="skip", storage=storage).load().train.labels) == 10


def test_lack_of_memory_is_not_taken_for_damage(make_tree, monkeypatch):
    def open_image(*args, **options):
        raise MemoryError

    monkeypatch.setattr("mcl.data.decoding.open_image", open_image)
    assert "(MemoryError)" in error_of(root=str(make_tree()), corrupt="skip")


def test_class_left_without_a_readable_image_is_named(make_tree):
    root = make_tree()
    for path in (root / "test" / "dog").iterdir():
        path.write_text("a text")
    for storage in ("memory", "disk"):
        message = error_of(root=str(root), corrupt="skip", storage=storage)
        assert "test part" in message
        assert "dog" in message


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"channels": 4}, "dataset.channels=4"),
        ({"corrupt": "delete"}, "dataset.corrupt=delete"),
        ({"test_fraction": 1.0}, "dataset.test_fraction=1.0"),
    ],
)
def test_options_out_of_range_are_named(make_tree, options, named):
    assert named in error_of(root=str(make_tree(("",))), **options)


def test_images_too_large_for_memory_say_how_large_they_are(make_tree, monkeypatch):
    monkeypatch.setattr(folder_module, "available_memory", lambda: 3_000_000_000)
    message = error_of(root=str(make_tree()), image_size=10_000, storage="memory")
    assert "20 images of 3 x 10000 x 10000 take 6.0 GB" in message
    assert "dataset.limit" in message
    assert "dataset.image_size" in message


def test_cache_that_cannot_be_written_names_its_option(make_tree, tmp_path):
    (tmp_path / "file").write_text("")
    assert "dataset.cache_dir" in error_of(root=str(make_tree()), cache_dir=str(tmp_path / "file"))


# Cache and fingerprint


def test_images_are_decoded_once(make_tree, decoded):
    root = str(make_tree())
    first, second = Folder(root=root).load(), Folder(root=root, validation=0.2, seed=4).load()
    assert decoded == [20]
    assert torch.equal(first.test.images, second.test.images)
    Folder(root=root, channels=1).load()
    Folder(root=root, image_size=4).load()
    assert decoded == [20] * 3


def test_changed_file_is_decoded_again(make_tree, decoded):
    root = make_tree()
    Folder(root=str(root)).load()
    changed = root / "train" / "cat" / "0.png"
    Image.new("RGB", (8, 8), "red").save(changed)
    assert torch.equal(Folder(root=str(root)).load().train.images[0], pixels(changed))
    assert decoded == [20, 20]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "about", "missing"])
def test_damaged_cache_is_noticed_and_made_again(make_tree, tmp_path, decoded, caplog, damage):
    root = str(make_tree())
    expected = Folder(root=root).load().train.images.clone()
    (array,) = (tmp_path / "cache").rglob("images.npy")
    content = array.read_bytes()
    if damage == "about":
        (array.parent / "about.json").write_text("{")
    elif damage == "missing":
        array.unlink()
    else:
        array.write_bytes(
            {"cut": content[:-5], "flip": content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], "empty": b""}[damage]
        )
    assert torch.equal(Folder(root=root).load().train.images, expected)
    assert decoded == [20, 20]
    assert (damage == "missing") or "damaged" in caplog.text
    Folder(root=root).load()
    assert decoded == [20, 20]


def test_decoding_that_fails_leaves_no_cache(make_tree, tmp_path, monkeypatch):
    root = str(make_tree())
    monkeypatch.setattr(folder_module.json, "dumps", lambda about: 1 / 0)  # after the images are written
    with pytest.raises(ZeroDivisionError):
        Folder(root=root).load()
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_loaded_images_do_not_write_to_the_cache(make_tree, decoded):
    root = str(make_tree())
    images = Folder(root=root).load().train.images
    before = images.clone()
    images.zero_()
    assert torch.equal(Folder(root=root).load().train.images, before)
    assert decoded == [20]


def test_fingerprint_follows_names_and_sizes_but_not_the_place(make_tree, tmp_path):
    root = make_tree()
    first = Folder(root=str(root)).fingerprint()
    shutil.copytree(root, tmp_path / "copy")
    assert Folder(root=str(tmp_path / "copy"), limit=1).fingerprint() == first
    (root / "train" / "cat" / "0.png").rename(root / "train" / "cat" / "9.png")
    second = Folder(root=str(root)).fingerprint()
    Image.new("RGB", (8, 8), "red").save(root / "train" / "cat" / "9.png")
    assert len({first, second, Folder(root=str(root)).fingerprint()}) == 3


@pytest.fixture
def twins(tmp_path) -> tuple[Path, Path]:
    """Two folders of one name with files of equal names, sizes and times, in which one image differs."""
    roots = []
    for place, brightness in (("one", 0), ("other", 200)):
        roots.append(tmp_path / place / "pets")
        for name in ("cat", "dog"):
            (roots[-1] / name).mkdir(parents=True)
            for number in range(3):
                file = roots[-1] / name / f"{number}.bmp"
                Image.new("RGB", (8, 8), (brightness if number == 2 else 50 * number,) * 3).save(file)
                os.utime(file, ns=(10**18, 10**18))
    return roots[0], roots[1]


@pytest.mark.parametrize("sample", [2**30, 0], ids=["whole", "beyond the sample"])
def test_folders_alike_but_for_their_contents_share_no_cache(twins, monkeypatch, sample):
    monkeypatch.setattr(contents_module, "SAMPLE_BYTES", sample)
    for root in twins:
        train, test, _ = Folder(root=str(root)).load()
        bright = max(int(part.images.max()) for part in (train, test))
        assert bright == max(int(pixels(path).max()) for path in root.rglob("*.bmp"))


def test_copy_of_a_folder_finds_its_cache(make_tree, tmp_path, decoded):
    root = make_tree()
    expected = Folder(root=str(root)).load().train.images
    copy = tmp_path / "elsewhere" / "pets"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)  # other times
    assert torch.equal(Folder(root=str(copy)).load().train.images, expected)
    assert decoded == [20]


def test_fingerprint_notices_an_image_that_changed_in_place_at_the_same_size_and_time(twins, old_files):
    root, other = twins
    first = Folder(root=str(root)).fingerprint()
    assert first != Folder(root=str(other)).fingerprint()
    time.sleep(0.02)  # file systems date changes to some milliseconds
    changed = root / "cat" / "2.bmp"
    changed.write_bytes((other / "cat" / "2.bmp").read_bytes())
    os.utime(changed, ns=(10**18, 10**18))
    assert Folder(root=str(root)).fingerprint() != first


def test_files_are_hashed_again_only_when_one_has_changed(make_tree, old_files, monkeypatch):
    root = make_tree()
    first = Folder(root=str(root)).fingerprint()
    monkeypatch.setattr(contents_module, "read_file", lambda path: pytest.fail(f"{path} was read again"))
    assert Folder(root=str(root)).fingerprint() == first
    os.utime(root / "train" / "cat" / "0.png", ns=(1, 1))
    with pytest.raises(BaseException, match="was read again"):
        Folder(root=str(root)).fingerprint()


def test_files_changed_a_moment_ago_are_hashed_each_time(twins):
    """A second change could leave the times as they are where a file system dates changes coarsely."""
    Folder(root=str(twins[0])).fingerprint()
    assert not list((twins[0].parents[1] / "cache").rglob("contents/*"))


def test_fingerprint_of_a_large_folder_has_a_sample_of_contents(twins, monkeypatch):
    one_file = (twins[0] / "cat" / "0.bmp").stat().st_size
    monkeypatch.setattr(contents_module, "SAMPLE_BYTES", 2 * one_file)
    read = []
    read_file = contents_module.read_file
    monkeypatch.setattr(contents_module, "read_file", lambda path: read.append(path.name) or read_file(path))
    for root in twins:
        Folder(root=str(root)).fingerprint()
    assert len(read) == 4
    assert read[:2] == read[2:]


def test_cache_folder_that_cannot_be_written_hinders_no_fingerprint(make_tree, tmp_path, old_files):
    (tmp_path / "file").write_text("")
    root = str(make_tree())
    assert Folder(root=root, cache_dir=str(tmp_path / "file")).fingerprint() == Folder(root=root).fingerprint()


def test_link_to_nothing_is_named(make_tree):
    root = make_tree()
    (root / "train" / "cat" / "link.png").symlink_to("nothing")
    assert f"Cannot read {root / 'train' / 'cat' / 'link.png'} (No such file" in error_of(root=str(root))


CHILD = """
import hashlib, sys, time
from mcl.data import folder
decode_all = folder.decode_all
def slowly(*args, **options):
    print("decoding", flush=True)
    time.sleep(0.5)
    return decode_all(*args, **options)
folder.decode_all = slowly
print("ready", flush=True)
sys.stdin.readline()
images = folder.Folder(root=sys.argv[1]).load().train.images
print(hashlib.sha256(images.numpy().tobytes()).hexdigest())
"""


def test_of_two_processes_one_decodes_and_the_other_waits(make_tree):
    root = str(make_tree())
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 2
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    told = [child.communicate(timeout=60)[0].split() for child in children]
    assert sorted(map(len, told)) == [1, 2]
    expected = hashlib.sha256(Folder(root=root).load().train.images.numpy().tobytes()).hexdigest()
    assert {lines[-1] for lines in told} == {expected}
