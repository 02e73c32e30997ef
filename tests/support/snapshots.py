"""A small snapshot of an evaluation."""

import torch

from mcl.tracking import Snapshot


def make_snapshot(classes: int) -> Snapshot:
    """Return a snapshot of six images, of which ``first`` classifies the last one wrongly."""
    labels = torch.arange(6) % classes
    predicted = {"first": (labels + (torch.arange(6) == 5)) % classes, "ensemble": labels}
    return Snapshot(
        classes=[f"class {i}" for i in range(classes)],
        labels=labels,
        predicted=predicted,
        images=torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
        image_labels=labels[:2],
        image_predicted={name: values[:2] for name, values in predicted.items()},
        image_confidence={name: torch.tensor([0.5, 0.75]) for name in predicted},
    )
