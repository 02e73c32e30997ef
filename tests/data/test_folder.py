"""The options of image folders."""

import pytest
from PIL import Image
from support.image_folders import error_of

from mcl.data import listed_files
from mcl.data.folder import Folder


def test_size_and_channels_equal_the_options(make_tree):
    splits = Folder(root=str(make_tree()), image_size=5, channels=1).load()
    assert splits.train.images.shape == (10, 1, 5, 5)


def test_no_image_is_decoded_before_load(make_tree, monkeypatch):
    root = make_tree()
    monkeypatch.setattr(Image.Image, "load", None)
    dataset = Folder(root=str(root))
    assert dataset.spec.counts == (5, 5)
    assert dataset.fingerprint()


def test_limit_decodes_only_the_images_it_keeps(make_tree, decoded):
    dataset = Folder(root=str(make_tree()), limit=2)
    assert dataset.load().train.labels.bincount().tolist() == list(dataset.spec.counts) == [2, 2]
    assert decoded == [2 * 2 + 10]


def test_first_image_that_is_not_square_asks_for_a_size(make_tree):
    root = make_tree()
    Image.new("RGB", (9, 8)).save(root / "train" / "cat" / "0.png")
    message = error_of(root=str(root))
    assert "9 x 8" in message
    assert "dataset.image_size" in message


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"channels": 4}, "dataset.channels=4"),
        ({"corrupt": "delete"}, "dataset.corrupt=delete"),
        ({"test_fraction": 1.1}, "dataset.test_fraction=1.1"),
    ],
)
def test_options_out_of_range_are_named(make_tree, options, named):
    assert named in error_of(root=str(make_tree(("",))), **options)


def test_error_for_images_too_large_for_memory_gives_their_size(make_tree, monkeypatch):
    monkeypatch.setattr(listed_files, "available_memory", lambda: 3_000_000_000)
    message = error_of(root=str(make_tree()), image_size=10_000, storage="memory")
    assert "20 images of 3 x 10000 x 10000 take 6.0 GB" in message
    assert "dataset.limit" in message
    assert "dataset.image_size" in message


def test_cache_that_cannot_be_written_names_its_option(make_tree, tmp_path):
    (tmp_path / "file").write_text("")
    assert "dataset.cache_dir" in error_of(root=str(make_tree()), cache_dir=str(tmp_path / "file"))
