"""Sample the rows of a memory bank that each image is contrasted with, without state.

A draw is a hash of (seed, step, the sample's index, the number of the draw). It is therefore the same on every device,
in every batch that contains the sample, for any number of processes, and in a resumed run.
"""

import torch
from torch import Tensor, nn

from mcl.errors import UserError


class ContrastSampler(nn.Module):
    """Draws samples of the same class and of other classes, uniformly and with replacement.

    With the samples sorted by class, the other classes are all samples but one range. A number below their count is
    drawn, and if it lies at or after the start of the class, the size of the class is added. No list per class is kept.

    Args:
        labels: (samples,) int64, the class of every training image.
        positives: P, draws from a sample's class. The sample itself is excluded unless it is the only one.
        negatives: K, draws from other classes.
        seed: seed of all draws.

    Raises:
        UserError: There are no other classes.
    """

    labels: Tensor  # (samples,)
    order: Tensor  # (samples,) indices sorted by class
    position: Tensor  # (samples,) of each sample in that order
    first: Tensor  # (classes,) position at which a class starts
    size: Tensor  # (classes,)

    def __init__(self, labels: Tensor, positives: int, negatives: int, seed: int = 0):
        super().__init__()
        size = labels.bincount()
        if int((size > 0).sum()) < 2:
            raise UserError(
                "loss/contrast=memory draws negatives of other classes, but all training images are of one class: "
                "choose another dataset=, or loss/contrast=batch."
            )
        order = labels.argsort(stable=True)
        tables = {"labels": labels, "order": order, "position": order.argsort(), "first": size.cumsum(0) - size}
        for name, table in {**tables, "size": size}.items():
            self.register_buffer(name, table, persistent=False)  # they follow from the data
        self.positives = positives
        self.negatives = negatives
        self.seed = seed

    def forward(self, index: Tensor, step: int | Tensor) -> tuple[Tensor, Tensor]:
        """Draw for the samples ``index`` (B,) int64: (B, P) samples of their classes and (B, K) of other classes."""
        numbers = self._numbers(index, step)  # (B, P + K)
        classes = self.labels[index]
        first, size = self.first[classes][:, None], self.size[classes][:, None]
        position = self.position[index][:, None]
        drawn = first + numbers[:, : self.positives] % (size - 1).clamp_min(1)
        positives = drawn + ((drawn >= position) & (size > 1))
        drawn = numbers[:, self.positives :] % (len(self.order) - size)
        negatives = drawn + torch.where(drawn >= first, size, 0)
        return self.order[positives], self.order[negatives]

    def _numbers(self, index: Tensor, step: int | Tensor) -> Tensor:
        """Return (B, P + K) uniform 63-bit integers, wide enough that the remainder of a division is uniform too."""
        key = mix(torch.full_like(index, self.seed) + _GAMMA) + step
        key = mix(key + _GAMMA) + index
        counter = torch.arange(1, self.positives + self.negatives + 1, device=index.device)
        return mix(mix(key + _GAMMA)[:, None] + _GAMMA * counter) & (2**63 - 1)


def mix(x: Tensor) -> Tensor:
    """Hash 64-bit integers with a bijection; any change of the argument changes about half of the bits.

    The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), in the wrapping arithmetic of int64.
    """
    x = (x ^ _logical_shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _logical_shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _logical_shift(x, 31)


def _logical_shift(x: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros; the shift of int64 repeats the sign."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


_GAMMA = _signed(0x9E3779B97F4A7C15)  # increment of the counter: 2^64 over the golden ratio
