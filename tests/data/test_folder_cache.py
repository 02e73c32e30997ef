"""The cache of decoded image folders."""

import hashlib
import os
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image
from support.image_folders import pixels

from mcl.data import contents as contents_module
from mcl.data import listed_files
from mcl.data.folder import Folder


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
def test_damaged_cache_is_detected_and_rebuilt(make_tree, tmp_path, decoded, caplog, damage):
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
    monkeypatch.setattr(listed_files.json, "dumps", lambda about: 1 / 0)  # after the images are written
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


@pytest.mark.parametrize("sample", [2**30, 0], ids=["whole", "beyond the sample"])
def test_folders_that_differ_only_in_contents_share_no_cache(twins, monkeypatch, sample):
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


CHILD = """
import hashlib, sys, time
from mcl.data import folder, listed_files
decode_all = listed_files.decode_all
def slowly(*args, **options):
    print("decoding", flush=True)
    time.sleep(0.5)
    return decode_all(*args, **options)
listed_files.decode_all = slowly
print("ready", flush=True)
sys.stdin.readline()
images = folder.Folder(root=sys.argv[1]).load().train.images
print(hashlib.sha256(images.numpy().tobytes()).hexdigest())
"""


def test_one_of_two_processes_decodes_and_the_other_waits(warm, make_tree):
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
    outputs = [child.communicate(timeout=60)[0].split() for child in children]
    assert sorted(map(len, outputs)) == [1, 2]
    expected = hashlib.sha256(Folder(root=root).load().train.images.numpy().tobytes()).hexdigest()
    assert {lines[-1] for lines in outputs} == {expected}


def test_files_that_lacked_a_decoder_are_tried_again_once_it_is_installed(make_tree, decoded, monkeypatch):
    root = make_tree()
    installed: list[str] = []
    monkeypatch.setattr("mcl.data.decoding.find_spec", lambda name: name in installed)
    monkeypatch.setattr("mcl.data.decoding._register_heic", lambda: None)
    (root / "train" / "cat" / "0.heic").write_bytes(b"\0\0\0\x1cftypheic" + b"\0" * 20)
    for packages in ([], [], ["pillow_heif"], ["pillow_heif"]):
        installed[:] = packages
        dataset = Folder(root=str(root), image_size=8, corrupt="skip")
        dataset.load()
        assert len(dataset.unreadable) == 1
    assert decoded == [21, 21]
