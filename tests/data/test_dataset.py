"""Properties of every dataset: spec, limit, validation, fingerprint."""

import pytest
import torch
from sklearn.datasets import load_digits

from mcl.data import digits
from mcl.data.augmentation import Augmentation
from mcl.data.dataset import Dataset, Images, take_rows
from mcl.data.digits import Digits
from mcl.data.synthetic import Synthetic
from mcl.errors import UserError


def small(**options) -> Synthetic:
    return Synthetic(
        **({"classes": 4, "image_size": 8, "channels": 1, "train_per_class": 10, "test_per_class": 3} | options)
    )


def assert_same(left: Images, right: Images) -> None:
    assert torch.equal(left.images, right.images)
    assert torch.equal(left.labels, right.labels)


@pytest.mark.parametrize(
    "dataset",
    [
        Digits(),
        Digits(validation=0.1),
        Digits(limit=20, validation=0.25),
        small(),
        small(limit=3),
        small(validation=0.01),
        small(limit=100, validation=0.99),
    ],
    ids=lambda dataset: f"{dataset.spec.name}-{dataset.limit}-{dataset.validation}",
)
def test_spec_agrees_with_the_loaded_images(dataset: Dataset):
    splits, spec = dataset.load(), dataset.spec
    assert tuple(splits.train.labels.bincount().tolist()) == spec.counts
    assert len(spec.counts) == spec.num_classes == len(spec.classes)
    assert (splits.validation is not None) == spec.has_validation
    for part in filter(None, splits):
        assert part.images.shape == (len(part.labels), spec.channels, spec.image_size, spec.image_size)
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
    assert len(dataset.mean) == len(dataset.std) == spec.channels


def test_digits_are_read_only_when_loaded(monkeypatch):
    monkeypatch.setattr(digits, "_load_digits", None)
    assert sum(Digits().spec.counts) == 1438
    with pytest.raises(TypeError):
        Digits().load()


def test_digits_equal_sklearns():
    for actual, expected in zip(digits._load_digits(), load_digits(return_X_y=True), strict=True):
        assert (actual == expected).all()


def test_digits_mean_and_std_are_computed_from_the_training_split():
    dataset = Digits()
    pixels = dataset.load().train.images.float() / 255
    assert dataset.mean[0] == pytest.approx(pixels.mean().item(), abs=1e-4)
    assert dataset.std[0] == pytest.approx(pixels.std().item(), abs=1e-4)


def test_digits_test_split_does_not_depend_on_the_options():
    assert_same(Digits().load().test, Digits(seed=3, limit=5, validation=0.2).load().test)


def test_digits_scale_to_another_size():
    bigger, native = Digits(image_size=16).load().train.images, Digits().load().train.images
    assert bigger.shape[2:] == (16, 16)
    blocks = torch.nn.functional.avg_pool2d(bigger.float(), 2)
    assert (blocks - native.float()).abs().mean() < 30


def test_validation_split_is_held_out_of_the_training_split():
    full, cut = small().load(), small(validation=0.3).load()
    assert cut.validation is not None
    assert cut.validation.labels.bincount().tolist() == [3] * 4
    together = torch.cat([cut.train.images, cut.validation.images]).flatten(1)
    assert len(together.unique(dim=0)) == len(full.train.labels)
    assert {tuple(row) for row in together.tolist()} == {tuple(row) for row in full.train.images.flatten(1).tolist()}
    assert_same(cut.test, full.test)


def test_limit_keeps_the_validation_split_and_is_nested():
    def rows(images: Images) -> set:
        return {tuple(row) for row in images.images.flatten(1).tolist()}

    one, five, every = (small(validation=0.2, limit=limit).load() for limit in (1, 5, None))
    assert torch.equal(one.validation.images, every.validation.images)
    assert len(one.train.labels) == 4
    assert rows(one.train) < rows(five.train) < rows(every.train)


def test_choices_depend_on_the_seed_alone():
    labels = torch.arange(3).repeat_interleave(20)
    first, again, other = (
        small(classes=3, train_per_class=20, validation=0.2, limit=8, seed=seed).select(labels) for seed in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_fingerprint_follows_the_data_and_not_the_selection():
    assert small().fingerprint() == small(limit=2, validation=0.5, augmentation=Augmentation(1)).fingerprint()
    changed = [{"classes": 5}, {"image_size": 9}, {"noise": 0.1}, {"seed": 1}, {"train_per_class": 11}, {"channels": 3}]
    assert len({small(**change).fingerprint() for change in [{}, *changed]}) == len(changed) + 1
    assert Digits().fingerprint() == Digits(limit=3).fingerprint() != Digits(image_size=16).fingerprint()


def test_synthetic_images_are_the_same_for_any_number_of_classes():
    few, many = small(classes=2).load().train, small(classes=4).load().train
    assert torch.equal(few.images, many.images[:20])
    assert not torch.equal(few.images, small(classes=2, seed=1).load().train.images)


def test_synthetic_classes_are_distinguishable():
    splits = Synthetic(classes=20, image_size=16).load()
    train, test = (part.images.float().flatten(1) for part in splits[:2])
    centers = torch.stack([train[splits.train.labels == label].mean(0) for label in range(20)])
    assert (torch.cdist(test, centers).argmin(1) == splits.test.labels).float().mean() > 0.99


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"limit": 0}, "dataset.limit=0"),
        ({"validation": 1.0}, "dataset.validation=1.0"),
        ({"validation": -0.1}, "dataset.validation=-0.1"),
        ({"image_size": 0}, "dataset.image_size=0"),
        ({"mean": [0.1, 0.2]}, "dataset.mean=\\[0.1, 0.2\\]"),
        ({"std": [0.0]}, "dataset.std=\\[0.0\\]"),
        ({"mean": [125.3]}, r"dataset.mean=\[125.3\]: .* by 255: dataset.mean=\[0.4914\]"),
        ({"std": [63.0]}, r"dataset.std=\[63.0\]: .* by 255: dataset.std=\[0.2471\]"),
        ({"classes": 1}, "dataset.classes=1"),
        ({"train_per_class": 1, "validation": 0.1}, "class_0, class_1"),
    ],
)
def test_invalid_options_are_named(options, named):
    with pytest.raises(UserError, match=named):
        small(**options)


def test_taking_a_range_of_rows_copies_nothing():
    tensor = torch.arange(10)
    assert take_rows(tensor, torch.tensor([3, 4, 5])).data_ptr() == tensor[3:].data_ptr()
    assert take_rows(tensor, torch.tensor([3, 5, 6])).tolist() == [3, 5, 6]
    assert take_rows(tensor, torch.tensor([], dtype=torch.int64)).tolist() == []
