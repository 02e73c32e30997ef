"""My own network, loss and dataset. A file of conf/ names each class and sets its options: edit both."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from mcl.data import Images, InMemoryDataset
from mcl.losses.base import Loss
from mcl.losses.classification import classification
from mcl.networks.backbone import Backbone, Head
from mcl.types import Batch, Outputs


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class MyNetwork(Backbone):
    """A stem, stages and a head: conf/network/my_network.yaml."""

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: int = 16):
        super().__init__(
            name="my_network",
            stem=block(in_channels, width),
            stages=[block(width, width), block(width, 2 * width, 2), block(2 * width, 4 * width, 2)],
            head=Head(4 * width, num_classes),
            in_channels=in_channels,
            stride=4,  # side of an image over the side of the last feature map
        )


class MyLoss(Loss):
    """Cross-entropy, and logits close to the mean of all networks: conf/loss/my_loss.yaml."""

    terms = ("classification", "agreement")
    minimum_networks = 2

    def __init__(self, *, widths: list[list[int]], weights: dict[str, float] | None = None):
        super().__init__(weights)

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits = [network.logits[-1] for network in outputs]  # N times (B, classes)
        mean = torch.stack(logits).mean(0).detach()
        agreement = torch.stack([mse_loss(each, mean) for each in logits]).sum()
        return {"classification": classification(logits, batch.labels), "agreement": agreement}


class MyDataset(InMemoryDataset):
    """Noisy stripes of a different width for each class: conf/dataset/my_dataset.yaml."""

    def __init__(self, *, classes: int = 4, images_per_class: int = 50, size: int = 16, seed: int = 0):
        self.classes, self.images_per_class, self.size, self.seed = classes, images_per_class, size, seed
        super().__init__(
            name="my_dataset",
            classes=[f"stripes {k + 1}" for k in range(classes)],
            counts=[images_per_class] * classes,
            channels=1,
            image_size=size,
            mean=[0.5],
            std=[0.25],
            augmentation=None,
            limit=None,
            validation=0.0,
            seed=seed,
        )

    def fingerprint(self) -> str:
        """Name the images: equal if and only if the images are equal."""
        return f"my_dataset-{self.classes}-{self.images_per_class}-{self.size}-{self.seed}"

    def read(self) -> tuple[Images, Images]:
        """Return the images for training and those for testing: (N, channels, size, size) uint8."""
        generator = torch.Generator().manual_seed(self.seed)
        return self._draw(generator), self._draw(generator)

    def _draw(self, generator: torch.Generator) -> Images:
        labels = torch.arange(self.classes).repeat_interleave(self.images_per_class)
        columns = torch.arange(self.size) // (labels[:, None] + 1) % 2  # (N, size)
        pixels = 64 + 128 * columns[:, None, None, :].expand(-1, 1, self.size, -1)
        noise = torch.randint(-40, 40, pixels.shape, generator=generator)
        return Images((pixels + noise).to(torch.uint8), labels)
