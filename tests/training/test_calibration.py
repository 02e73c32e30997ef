"""The expected calibration error, against plain arithmetic."""

import pytest
import torch

from mcl.training.calibration import Calibration


def test_error_is_the_gap_of_confidence_weighted_by_the_images_of_each_bin() -> None:
    confidence = torch.tensor([0.9, 0.92, 0.61, 0.62])  # bins (13/15, 14/15] and (9/15, 10/15]
    logits = torch.stack([confidence.log(), (1 - confidence).log()], dim=1)
    labels = torch.tensor([0, 1, 0, 0])  # half of the first bin is right, and all of the second
    calibration = Calibration(["ensemble"])
    for part in (slice(0, 1), slice(1, 4)):  # batches of unequal size, within a bin
        calibration.on_batch({"ensemble": logits[part], "first/stage1": logits[part]}, labels[part])
    gaps = abs(0.91 - 0.5) / 2 + abs(0.615 - 1) / 2
    assert calibration.errors() == pytest.approx({"ensemble": 100 * gaps}, rel=1e-5)


def test_certain_and_right_predictions_have_no_error() -> None:
    calibration = Calibration(["ensemble"])
    calibration.on_batch({"ensemble": torch.tensor([[100.0, -100.0]])}, torch.tensor([0]))
    assert calibration.errors() == {"ensemble": 0}
