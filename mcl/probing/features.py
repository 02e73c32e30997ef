"""The features of frozen networks for the images of a split."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mcl.data.dataset import Images
from mcl.data.image_files import ImageFiles
from mcl.data.loaders import pixels_in_order
from mcl.data.preprocessing import Preprocessing
from mcl.networks.backbone import Backbone

_GRAY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow converts


class Features(NamedTuple):
    """The images of a split as networks see them; unreadable images are left out."""

    by_network: dict[str, Tensor]  # key of a network -> (N, d) float32, on the CPU
    labels: Tensor  # (N,) int64, on the CPU

    def take(self, indices: Tensor) -> "Features":
        """Return the features of the images at ``indices`` (M,)."""
        return Features({key: rows[indices] for key, rows in self.by_network.items()}, self.labels[indices])

    def followed_by(self, other: "Features") -> "Features":
        """Return the images of both, these first."""
        joined = {key: torch.cat([rows, other.by_network[key]]) for key, rows in self.by_network.items()}
        return Features(joined, torch.cat([self.labels, other.labels]))


@torch.no_grad()
def extract(
    networks: Mapping[str, Backbone],
    split: Images | ImageFiles,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    device: torch.device,
) -> Features:
    """Run networks once on all images of a split, without augmentation.

    Args:
        networks: on ``device``, in evaluation mode: batch normalization keeps its statistics.
        split: the images; those of another size or number of channels are converted.
        preprocessing: what the networks expect.
        batch_size: images at once.
        device: device of the networks.
    """
    rows: dict[str, list[Tensor]] = {key: [] for key in networks}
    labels = []
    for images, batch_labels, _ in pixels_in_order(split, batch_size=batch_size, device=device):
        pixels = preprocessing.normalize(fit_pixels(images, preprocessing))
        for key, network in networks.items():
            rows[key].append(pooled_features(network, pixels).float().cpu())
        labels.append(batch_labels.cpu())
    return Features({key: torch.cat(batches) for key, batches in rows.items()}, torch.cat(labels))


def pooled_features(network: Backbone, images: Tensor) -> Tensor:
    """Return what the classifier of a network gets, (B, d)."""
    features: Tensor = network.head(network.feature_maps(images)[-1])[0]
    return features


def fit_pixels(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return uint8 images (B, channels, side, side) with the channels and the size that a network expects.

    Gray images get three equal channels, color images their luminance; the size changes bilinearly, with antialiasing.
    """
    if images.shape[1] != preprocessing.channels:
        if preprocessing.channels == 1:
            weights = torch.tensor(_GRAY, device=images.device)[:, None, None]
            images = (images * weights).sum(1, keepdim=True).round().to(torch.uint8)
        else:
            images = images.expand(-1, preprocessing.channels, -1, -1)
    side = preprocessing.image_size
    if images.shape[-2:] != (side, side):
        resized = F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True)
        images = resized.round().clamp(0, 255).to(torch.uint8)
    return images
