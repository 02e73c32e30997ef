"""dataset=hf: datasets of Hugging Face on disk."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcl.data import hugging_face
from mcl.data.hugging_face import HuggingFace
from mcl.errors import UserError


def test_missing_library_is_one_line_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("mcl.extras.find_spec", lambda module: None)
    with pytest.raises(UserError, match=r"dataset=hf: needs datasets. Install it with: pip install 'datasets>=3'"):
        HuggingFace(root=str(tmp_path))


@pytest.fixture
def datasets():
    hugging_face._load.cache_clear()
    hugging_face._undecoded.cache_clear()
    return pytest.importorskip("datasets")


@pytest.fixture
def save(datasets, tmp_path):
    """``save(train=[0, 1], test=[0, 1])`` saves images of 8 x 8 with these labels; returns the folder."""
    rng = np.random.default_rng(0)

    def save(features=None, **splits) -> str:
        features = features or {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}

        def column(name, kind, labels):
            if type(kind).__name__ == "Image":
                return [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in labels]
            return labels

        made = {
            split: datasets.Dataset.from_dict(
                {name: column(name, kind, labels) for name, kind in features.items()},
                features=datasets.Features(features),
            )
            for split, labels in splits.items()
        }
        whole = made["whole"] if "whole" in made else datasets.DatasetDict(made)
        whole.save_to_disk(str(tmp_path / "beans"))
        return str(tmp_path / "beans")

    return save


def error_of(root: str, **options) -> str:
    with pytest.raises(UserError) as error:
        HuggingFace(root=root, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def stored(root: str, split: str, row: int, datasets) -> np.ndarray:
    return np.asarray(datasets.load_from_disk(root)[split][row]["image"]).transpose(2, 0, 1)


def test_images_and_labels_are_those_of_the_rows(save, datasets):
    root = save(train=[0, 1, 1, 0], validation=[0, 1], test=[1, 0])
    splits = HuggingFace(root=root).load()
    assert splits.train.labels.tolist() == [0, 1, 1, 0]
    assert splits.test.labels.tolist() == [1, 0]
    assert np.array_equal(splits.train.images[2], stored(root, "train", 2, datasets))
    assert splits.validation is not None
    assert np.array_equal(splits.validation.images[1], stored(root, "validation", 1, datasets))


def test_disk_gives_the_same_pixels_and_can_be_sent_to_workers(save):
    root = save(train=[0, 1], test=[0, 1])
    in_memory = HuggingFace(root=root).load().train
    files = pickle.loads(pickle.dumps(HuggingFace(root=root, storage="disk").load().train))
    assert np.array_equal(np.stack([files.decode(files.path(i)) for i in range(2)]), in_memory.images)


def test_unlabeled_test_split_is_left_out(save):
    splits = HuggingFace(root=save(train=[0, 1], validation=[1, 0], test=[-1, -1])).load()
    assert splits.test.labels.tolist() == [1, 0]
    assert splits.validation is None


def test_dataset_without_splits_is_split(save):
    splits = HuggingFace(root=save(whole=[0, 1] * 5), test_fraction=0.4).load()
    assert splits.train.labels.bincount().tolist() == [3, 3]
    assert splits.test.labels.bincount().tolist() == [2, 2]


def test_columns_are_found_or_named(save, datasets):
    two = {"photo": datasets.Image(), "mask": datasets.Image(), "species": datasets.Value("string")}
    root = save(two, train=["b", "a"], test=["a", "b"])
    message = error_of(root)
    assert "dataset.image_column is not set" in message
    assert "photo, mask" in message
    assert "Did you mean 'photo'?" in error_of(root, image_column="photos")
    assert "dataset.label_column is not set" in error_of(root, image_column="photo")
    dataset = HuggingFace(root=root, image_column="photo", label_column="species")
    assert dataset.spec.classes == ("a", "b")
    assert dataset.load().train.labels.tolist() == [1, 0]


def test_fingerprint_covers_pixels_and_labels(save):
    first = HuggingFace(root=save(train=[0, 1], test=[0, 1])).fingerprint()
    assert HuggingFace(root=save(train=[0, 1], test=[0, 1])).fingerprint() != first  # other random pixels
    hugging_face._load.cache_clear()


def test_images_are_decoded_once(save, decoded):
    root = save(train=[0, 1], test=[0, 1])
    HuggingFace(root=root).load()
    HuggingFace(root=root).load()
    assert decoded == [4]


def test_row_without_a_readable_image_is_skipped_by_choice(datasets, tmp_path):
    bad = {"bytes": b"no image", "path": None}
    good = {"bytes": pixel(tmp_path), "path": None}
    rows = {"image": [good, bad, good, good, None], "label": [0, 0, 1, 0, 1]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    made = datasets.Dataset.from_dict(rows, features=features)
    test = datasets.Dataset.from_dict({"image": [good, good], "label": [0, 1]}, features=features)
    datasets.DatasetDict(train=made, test=test).save_to_disk(str(tmp_path / "beans"))
    with pytest.raises(UserError, match=r"train/1 \(no image"):
        HuggingFace(root=str(tmp_path / "beans")).load()
    dataset = HuggingFace(root=str(tmp_path / "beans"), corrupt="skip")
    assert dataset.load().train.labels.tolist() == [0, 1, 0]
    assert list(dataset.unreadable) == [str(tmp_path / "beans" / "train" / row) for row in "14"]
    assert "the row has no image" in dataset.unreadable[str(tmp_path / "beans" / "train" / "4")]


def pixel(folder: Path) -> bytes:
    Image.new("RGB", (8, 8), "red").save(folder / "one.png")
    return (folder / "one.png").read_bytes()


def test_errors_say_what_is_there(save, tmp_path):
    assert "there is no such folder" in error_of(str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    assert "not a dataset on disk" in error_of(str(tmp_path / "empty"))
    assert "has the splits extra, but none named train or test" in error_of(save(extra=[0, 1]))
    assert "training needs train and test" in HuggingFace(root=save(test=[0, 1])).untrainable
    hugging_face._load.cache_clear()
    assert "has no label" in error_of(save(train=[0, -1], test=[0, 1]))
