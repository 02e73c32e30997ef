"""The ImageNet folder: listed once, and missing files named."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from mcl.data import imagenet
from mcl.data.imagenet import ImageNet
from mcl.data.loaders import batches_in_order
from mcl.data.preprocessing import Preprocessing
from mcl.errors import UserError

TRANSFORM = (v2.RandomResizedCrop(6), v2.RandomHorizontalFlip())


@pytest.fixture
def tree(make_tree: Callable[..., Path]) -> Path:
    """Make three classes with 5 images each in both splits."""
    return make_tree(splits=("train", "val"), classes=("n01", "n02", "n03"))


def dataset(root: Path, **options: Any) -> ImageNet:
    return ImageNet(str(root), **{"image_size": 6, "resize": 7, "partial": True, "workers": 0} | options)


def error_of(root: Path, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        dataset(root, **options)
    return str(error.value)


def test_splits_hold_the_files_class_by_class(tree: Path) -> None:
    imagenet = dataset(tree, transform=TRANSFORM)
    assert (imagenet.spec.name, imagenet.spec.classes, imagenet.spec.counts) == (
        "imagenet",
        ("n01", "n02", "n03"),
        (5, 5, 5),
    )
    train, test, validation = imagenet.load()
    assert validation is None
    for part, name in ((train, "train"), (test, "val")):
        assert part.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
        assert part.path(7) == tree / name / "n02" / "2.png"
        assert part.path(7).is_file()
        assert part.decode(part.path(7)).shape == (3, 6, 6)


def test_training_images_are_transformed_and_others_are_not(tree: Path) -> None:
    train, test, validation = dataset(tree, transform=TRANSFORM, validation=0.2).load()
    assert validation is not None
    for part, random in ((train, True), (test, False), (validation, False)):
        versions = {tuple(part.decode(part.path(0)).flatten().tolist()) for _ in range(8)}
        assert (len(versions) > 1) == random


def test_training_images_are_evaluated_as_test_images_are(tree: Path) -> None:
    for part in ("train", "val"):  # the same images in either part
        for name in ("n01", "n02", "n03"):
            for number in range(5):
                pixels = torch.randint(256, (20, 15, 3), generator=torch.Generator().manual_seed(number)).byte()
                Image.fromarray(pixels.numpy()).save(tree / part / name / f"{number}.png")
    imagenet = dataset(tree, transform=TRANSFORM)
    train, test = (list(batches_in_order(part, imagenet, batch_size=4)) for part in imagenet.load()[:2])
    assert all(torch.equal(one.images, other.images) for one, other in zip(train, test, strict=True))


def test_limit_and_validation_take_from_every_class(tree: Path) -> None:
    train, _, validation = dataset(tree, limit=2, validation=0.2).load()
    assert validation is not None
    assert train.labels.bincount().tolist() == [2, 2, 2]
    assert validation.labels.bincount().tolist() == [1, 1, 1]
    assert not set(map(bytes, train.paths)) & set(map(bytes, validation.paths))


def test_exported_preprocessing_equals_the_test_splits(tree: Path, tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), (200, 10, 10)).save(tmp_path / "wide.png")
    imagenet = dataset(tree, image_size=20, resize=30)
    preprocessing = Preprocessing.from_dict(Preprocessing.of(imagenet).as_dict())
    assert preprocessing.resize == 30
    test = imagenet.load().test
    expected = preprocessing.normalize(torch.from_numpy(test.decode(test.path(0)).copy())[None])
    assert torch.equal(preprocessing(test.path(0)), expected)
    old = {name: value for name, value in preprocessing.as_dict().items() if name != "resize"}
    assert Preprocessing.from_dict(old).resize is None


def test_files_are_listed_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataset(tree)
    monkeypatch.setattr(imagenet, "_build_index", lambda *_: pytest.fail("listed again"))
    again = dataset(tree)
    assert again.fingerprint() == first.fingerprint()
    assert again.spec == first.spec


def test_changed_folder_is_listed_again(tree: Path) -> None:
    first = dataset(tree)
    (tree / "train" / "n02" / "0.png").unlink()
    os.utime(tree / "train" / "n02", ns=(1, 1))  # a clock may be too coarse to tell
    second = dataset(tree)
    assert second.spec.counts == (5, 4, 5)
    assert second.fingerprint() != first.fingerprint()


def test_fingerprint_follows_contents_but_not_the_location(tree: Path, tmp_path: Path) -> None:
    first = dataset(tree).fingerprint()
    shutil.copytree(tree, tmp_path / "copy")
    assert dataset(tmp_path / "copy").fingerprint() == first
    replaced = tree / "train" / "n02" / "0.png"
    content = replaced.read_bytes()
    (tree / "aside").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of equal size
    (tree / "aside").rename(replaced)
    os.utime(tree / "train" / "n02", ns=(1, 1))  # a clock may be too coarse to tell
    assert dataset(tree).fingerprint() != first


def test_hidden_files_are_ignored(tree: Path) -> None:
    first = dataset(tree)
    (tree / "train" / "n02" / "._0.png").write_bytes(b"what macOS leaves in archives")
    os.utime(tree / "train" / "n02", ns=(1, 1))
    second = dataset(tree)
    assert second.spec.counts == (5, 5, 5)
    assert second.fingerprint() == first.fingerprint()


def test_damaged_list_is_rebuilt(tree: Path, tmp_path: Path) -> None:
    first = dataset(tree)
    (index,) = (tmp_path / "cache").rglob("index.npz")
    index.write_bytes(index.read_bytes()[:200])
    assert dataset(tree).fingerprint() == first.fingerprint()


def test_missing_images_are_counted(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = error_of(tree, partial=False)
    assert "3 class folders where there should be 1000" in message
    assert "train/ has 15 images of 1,281,167" in message
    assert "val/ has 15 images of 50,000" in message
    assert "dataset.partial=true" in message

    monkeypatch.setattr(imagenet, "CLASSES", 3)
    monkeypatch.setattr(imagenet, "IMAGES", {"train": 15, "val": 15})
    monkeypatch.setattr(imagenet, "IMAGES_PER_CLASS", {"train": (4, 6), "val": (5, 5)})
    dataset(tree, partial=False)
    (tree / "val" / "n03" / "4.png").unlink()
    os.utime(tree / "val" / "n03", ns=(1, 1))
    message = error_of(tree, partial=False)
    assert "in val/ these do not have 5 images: n03 (4); val/ has 14 images of 15" in message
    assert "train/" not in message


def empty(root: Path) -> None:
    for path in (root / "train" / "n02").iterdir():
        path.unlink()


def put_side_by_side(root: Path) -> None:
    for path in list((root / "val").rglob("*.png")):
        path.rename(root / "val" / f"{path.parent.name}-{path.name}")
    for folder in list((root / "val").iterdir()):
        if folder.is_dir():
            folder.rmdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "there is no such folder"),
        (lambda root: shutil.rmtree(root / "val"), "has no val/ folder"),
        (lambda root: shutil.rmtree(root / "train"), "has no train/ folder"),
        (put_side_by_side, "Its 15 images lie side by side: move each into a folder named after its class"),
        (lambda root: shutil.rmtree(root / "val" / "n02"), "only in train/: n02"),
        (empty, "No images in these class folders of .*train: n02"),
    ],
)
def test_missing_folders_and_images_are_named(spoil: Callable[[Path], None], message: str, tree: Path) -> None:
    spoil(tree)
    with pytest.raises(UserError, match=message):
        dataset(tree)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": None}, "dataset.root is not set"),
        ({"resize": 5}, "dataset.resize=5"),
        ({"workers": -1}, "dataset.workers=-1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str, tree: Path) -> None:
    with pytest.raises(UserError, match=message):
        ImageNet(**{"root": str(tree), "image_size": 6, "resize": 7, "partial": True} | options)
