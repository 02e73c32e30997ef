"""Damaged files in image folders, and file system errors."""

import errno
import os

import pytest
import torch
from support.image_folders import error_of, pixels

from mcl.data.decoding import FileSystemError, read_file
from mcl.data.folder import Folder


def test_unreadable_files_stop_and_are_named(make_tree):
    root = make_tree()
    (root / "train" / "cat" / "1.png").write_text("a text")
    content = (root / "test" / "dog" / "2.png").read_bytes()
    (root / "test" / "dog" / "2.png").write_bytes(content[: len(content) // 2])
    message = error_of(root=str(root))
    assert str(root / "train" / "cat" / "1.png") in message
    assert str(root / "test" / "dog" / "2.png") in message
    assert "dataset.corrupt=skip" in message


def test_unreadable_files_are_skipped_and_counted_on_request(make_tree, caplog, decoded):
    root = make_tree()
    (root / "train" / "cat" / "1.png").write_text("a text")
    for _ in range(2):  # decoded, then from the cache
        dataset = Folder(root=str(root), corrupt="skip")
        splits = dataset.load()
        assert splits.train.labels.tolist() == [0] * 4 + [1] * 5
        assert torch.equal(splits.train.images[1], pixels(root / "train" / "cat" / "2.png"))
        (*_, message) = [record.message for record in caplog.records if record.name == "mcl.data.listed_files"]
        assert message.endswith("skipped 1 unreadable of 20 files: train/cat/1.png")
        assert dataset.unreadable == {str(root / "train/cat/1.png"): "no image, or one of an unknown format"}
    assert decoded == [20]
    assert "1.png" in error_of(root=str(root), corrupt="stop")  # the cache of another choice hides nothing


@pytest.mark.parametrize("storage", ["memory", "disk"])
@pytest.mark.parametrize("times", [0, 1], ids=["at first", "later"])
def test_failure_of_the_file_system_is_neither_skipped_nor_cached(make_tree, monkeypatch, times, storage):
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


@pytest.mark.parametrize("corrupt", ["stop", "skip"])
def test_failure_of_the_file_system_leaves_the_size_to_no_other_image(make_tree, monkeypatch, corrupt):
    root = make_tree()
    first = root / "train" / "cat" / "0.png"

    def failing(path):
        if path == first:
            raise FileSystemError("Permission denied")
        return read_file(path)

    monkeypatch.setattr(Folder, "read", staticmethod(failing))
    message = error_of(root=str(root), image_size=None, corrupt=corrupt)
    assert f"Cannot read {first} (Permission denied). The image in it may be intact" in message


def test_memory_error_is_not_treated_as_damage(make_tree, monkeypatch):
    def open_image(*args, **options):
        raise MemoryError

    monkeypatch.setattr("mcl.data.decoding.open_image", open_image)
    assert "(MemoryError)" in error_of(root=str(make_tree()), corrupt="skip")


def test_class_without_readable_images_is_named(make_tree):
    root = make_tree()
    for path in (root / "test" / "dog").iterdir():
        path.write_text("a text")
    for storage in ("memory", "disk"):
        message = error_of(root=str(root), corrupt="skip", storage=storage)
        assert "test split" in message
        assert "dog" in message


@pytest.mark.parametrize("corrupt", ["stop", "skip"])
def test_a_pipe_named_like_an_image_does_not_block(make_tree, corrupt):
    root = make_tree()
    os.mkfifo(root / "train" / "cat" / "pipe.png")
    message = error_of(root=str(root), corrupt=corrupt)
    assert "pipe.png (it is not a regular file)" in message
    assert "remove the file" in message
