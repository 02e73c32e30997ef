import io
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from mcl.palette import diverging
from mcl.tracking import RunInfo, Snapshot, media
from mcl.tracking.media import matching_pictures, samples_picture
from mcl.tracking.wandb_media import SnapshotMedia

_content = io.BytesIO()
Image.new("L", (1, 1)).save(_content, format="png")
PNG = _content.getvalue()


def size(content: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(content)).size


def test_confusion_matrix_counts_predictions_by_label() -> None:
    labels, predicted = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 0])
    snapshot = Snapshot(["a", "b", "c"], labels, {"first": predicted}, labels, labels, {}, {})
    assert snapshot.confusion("first").tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_each_pair_of_networks_has_a_heat_map() -> None:
    metrics = {
        "train/total": 1.0,
        "matching/first.stage1/second.backbone": 0.4,
        "matching/first.stage1/third.backbone": 0.6,
        "matching/second.stage1/third.backbone": 0.5,
    }
    images = matching_pictures(metrics)
    assert list(images) == ["first-second", "first-third", "second-third"]
    assert all(min(size(content)) > 50 for content in images.values())
    assert matching_pictures({"train/total": 1.0}) == {}


def test_one_weight_has_one_color_in_all_heat_maps() -> None:
    expected = bytes(diverging()((0.4 - 0.25) / 0.5, bytes=True)[:3])
    for other in (0.41, 0.7):
        metrics = {"matching/first.stage1/second.stage1": 0.4, "matching/first.stage1/second.backbone": other}
        image = Image.open(io.BytesIO(matching_pictures(metrics)["first-second"])).convert("RGB")
        content = image.tobytes()
        pixels = [content[i : i + 3] for i in range(0, len(content), 3)]
        assert pixels.count(expected) > 500  # the square of that weight, less its number


def test_samples_with_one_or_three_channels_become_an_image() -> None:
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


def test_titles_name_network_method_data_epoch_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []

    def read(figure: Figure) -> bytes:
        titles.extend(axes.get_title().replace("\n", " ") for axes in figure.axes if axes.get_title())
        titles.append(figure.get_suptitle().replace("\n", " "))
        return PNG

    monkeypatch.setattr(media, "_png", read)
    labels = torch.tensor([0, 1])
    images = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    right = {"first": labels, "ensemble": labels}
    snapshot = Snapshot(["a", "b"], labels, right, images, labels[:1], {"first": labels[:1]}, {"first": torch.ones(1)})
    networks = [("first", "resnet8"), ("second", "wrn_16_2")]
    run = RunInfo(Path("run"), "a run", "id", 4, 2, networks, tags=("digits", "lmcl", "resnet8", "wrn_16_2"))
    SnapshotMedia(snapshot, {"matching/first.stage1/second.stage1": 0.5}, run).logged(2)
    assert "first resnet8 × second wrn_16_2 lmcl on digits, epoch 2" in titles
    assert "first resnet8, lmcl on digits, epoch 2 test split, n = 2 images" in titles
    assert "ensemble, lmcl on digits, epoch 2 test split, n = 2 images" in titles
    assert any(title.startswith("test images, lmcl on digits, epoch 2;") for title in titles)
