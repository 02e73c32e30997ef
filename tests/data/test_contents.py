"""Fingerprints of image folders: they follow the contents of the files, not their location."""

import os
import shutil
import time

import pytest
from PIL import Image
from support.image_folders import error_of

from mcl.data import contents as contents_module
from mcl.data.folder import Folder


def test_fingerprint_follows_names_and_sizes_but_not_the_location(make_tree, tmp_path):
    root = make_tree()
    first = Folder(root=str(root)).fingerprint()
    shutil.copytree(root, tmp_path / "copy")
    assert Folder(root=str(tmp_path / "copy"), limit=1).fingerprint() == first
    (root / "train" / "cat" / "0.png").rename(root / "train" / "cat" / "9.png")
    second = Folder(root=str(root)).fingerprint()
    Image.new("RGB", (8, 8), "red").save(root / "train" / "cat" / "9.png")
    assert len({first, second, Folder(root=str(root)).fingerprint()}) == 3


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


def test_recently_changed_files_are_hashed_each_time(twins):
    """On file systems with coarse times, a second change may leave the times equal."""
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


def test_fingerprint_does_not_need_a_writable_cache_folder(make_tree, tmp_path, old_files):
    (tmp_path / "file").write_text("")
    root = str(make_tree())
    assert Folder(root=root, cache_dir=str(tmp_path / "file")).fingerprint() == Folder(root=root).fingerprint()


def test_broken_link_is_named(make_tree):
    root = make_tree()
    (root / "train" / "cat" / "link.png").symlink_to("nothing")
    assert f"Cannot read {root / 'train' / 'cat' / 'link.png'} (No such file" in error_of(root=str(root))
