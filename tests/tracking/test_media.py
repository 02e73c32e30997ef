import io

import torch
from PIL import Image

from mcl.tracking import Snapshot
from mcl.tracking.media import matching_pictures, samples_picture


def size(content: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(content)).size


def test_the_confusion_matrix_counts_predictions_by_label() -> None:
    labels, predicted = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 0])
    snapshot = Snapshot(["a", "b", "c"], labels, {"first": predicted}, labels, labels, {}, {})
    assert snapshot.confusion("first").tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_each_two_networks_have_a_heat_map() -> None:
    metrics = {
        "train/total": 1.0,
        "matching/first.stage1/second.backbone": 0.4,
        "matching/first.stage1/third.backbone": 0.6,
        "matching/second.stage1/third.backbone": 0.5,
    }
    found = matching_pictures(metrics)
    assert list(found) == ["first-second", "first-third", "second-third"]
    assert all(min(size(content)) > 50 for content in found.values())
    assert matching_pictures({"train/total": 1.0}) == {}


def test_samples_of_one_and_of_three_channels_become_a_picture() -> None:
    for channels in (1, 3):
        snapshot = Snapshot(
            classes=["$one_", "b" * 100],  # no formula
            labels=torch.tensor([0, 1]),
            predicted={},
            images=torch.zeros(2, channels, 4, 4, dtype=torch.uint8),
            image_labels=torch.tensor([0, 1]),
            image_predicted={"first": torch.tensor([0, 0])},
            image_confidence={"first": torch.tensor([0.5, 0.9])},
        )
        assert min(size(samples_picture(snapshot))) > 50
