"""FFL: feature fusion for online mutual knowledge distillation (ICPR 2020, arXiv 1904.09058)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.losses.base import Weights
from mcl.losses.distillation import kl_divergence
from mcl.losses.forms import SMOOTHING, Form, FormLoss, last_logits
from mcl.losses.ramps import Sigmoid
from mcl.types import Batch, NetworkShape, Outputs


class Fusion(nn.Module):
    """Classify the last feature maps of all networks together: depthwise 3x3 and 1x1 convolution, pooling, linear.

    Args:
        widths: channels of the networks' maps; the fused map has as many as the first.
        classes: number of classes.
    """

    def __init__(self, widths: Sequence[int], classes: int):
        super().__init__()
        channels, width = sum(widths), widths[0]
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        for conv in (self.depthwise, self.pointwise):  # not the fan-in of a depthwise convolution: as the authors do
            nn.init.normal_(conv.weight, std=(2 / (conv.kernel_size[0] ** 2 * conv.out_channels)) ** 0.5)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map the networks' maps (B, width, H, W) to logits (B, C)."""
        x = self.bn1(self.depthwise(torch.cat(list(maps), dim=1))).relu()
        return self.classifier(self.bn2(self.pointwise(x)).relu().mean((-2, -1)))


class FFL(FormLoss):
    """Classification of networks and of their fusion; the networks learn from the fusion, the fusion from their mean.

    Args:
        shapes: per network, its sizes; the fusion module reads the last feature maps of all.
        weights: factor of each term; None: 1, the divergences with a ramp of 80 epochs.
        temperature: T.
        weight_decay: of the fusion module; None: that of the networks.

    Raises:
        UserError: As in `FormLoss`, or ``weight_decay`` is negative; in a forward pass, the last feature maps of the
            networks differ in size.
    """

    terms = ("classification", "distillation", "fusion_distillation")
    needs_maps = True
    minimum_networks = 2
    forms: ClassVar[Mapping[str, Form]] = {
        "paper": Form(3.0, {"distillation": Sigmoid(), "fusion_distillation": Sigmoid()}, SMOOTHING)
    }

    def __init__(
        self,
        *,
        shapes: list[NetworkShape],
        weights: Weights | None = None,
        temperature: float = 3.0,
        weight_decay: float | None = 1e-5,
    ):
        super().__init__(shapes=shapes, weights=weights, temperature=temperature)
        if weight_decay is not None and weight_decay < 0:
            raise UserError(f"loss.weight_decay={weight_decay}: must not be negative.")
        self.fusion = Fusion([shape.channels[-1] for shape in shapes], shapes[0].num_classes)
        self.weight_decay = weight_decay

    def parameter_groups(self) -> list[dict[str, Any]]:
        if self.weight_decay is None:
            return []
        return [{"params": list(self.fusion.parameters()), "weight_decay": self.weight_decay}]

    def ensemble(self, outputs: Sequence[Outputs]) -> Tensor:
        maps = [network.maps[-1] for network in outputs]
        if len({each.shape[-2:] for each in maps}) > 1:
            sizes = ", ".join(f"{each.shape[-2]}x{each.shape[-1]}" for each in maps)
            raise UserError(
                f"loss=ffl fuses the networks' last feature maps, and their sizes differ: {sizes}. Choose a pair= whose"
                " networks have the same, or another loss=."
            )
        return self.fusion(maps)

    def forward(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        logits, fused = last_logits(outputs), self.ensemble(outputs)
        options = {"temperature": self.temperature, "epsilon": self.epsilon}
        return {
            "classification": self.classification([*logits, fused], batch),
            "distillation": kl_divergence(fused.detach(), logits, **options),
            "fusion_distillation": kl_divergence(logits.mean(0).detach(), fused, **options),
        }
