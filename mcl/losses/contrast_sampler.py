"""Sample the rows of a memory bank that each image is contrasted with, without state.

A draw is a hash of (seed, step, the sample's index, its number in the row). It is therefore the same on every device,
in every batch that the sample may be part of, for any number of processes, and in a run that was resumed.
"""

import torch
from torch import Tensor, nn

from mcl.errors import UserError


class ContrastSampler(nn.Module):
    """Samples of the same class and samples of other classes, uniform and with replacement.

    With the samples in order of class, those of other classes are all but one range of it: a number below their count
    is drawn, and what lies behind the start of the class is moved on by its size. No list per class is kept.

    Args:
        labels: (N,) int64, the class of every training image.
        positives: P, drawn of a sample's class, itself left out; the only one of its class gets itself.
        negatives: K, drawn of other classes.
        seed: of all draws.

    Raises:
        UserError: there are no other classes.
    """

    labels: Tensor  # (N,)
    order: Tensor  # (N,) samples in order of class
    place: Tensor  # (N,) where a sample stands in that order
    first: Tensor  # (classes,) where a class starts in it
    size: Tensor  # (classes,)

    def __init__(self, labels: Tensor, positives: int, negatives: int, seed: int = 0):
        super().__init__()
        size = labels.bincount()
        if int((size > 0).sum()) < 2:
            raise UserError(
                "loss/contrast=memory draws negatives of other classes, and all training images are of one class: "
                "choose another dataset=, or loss/contrast=batch."
            )
        order = labels.argsort(stable=True)
        tables = {"labels": labels, "order": order, "place": order.argsort(), "first": size.cumsum(0) - size}
        for name, table in {**tables, "size": size}.items():
            self.register_buffer(name, table, persistent=False)  # they follow from the data
        self.positives = positives
        self.negatives = negatives
        self.seed = seed

    def forward(self, index: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """(B, P) samples of the classes and (B, K) samples of other classes than those of ``index``, (B,) int64."""
        numbers = self._numbers(index, step)  # (B, P + K)
        classes = self.labels[index]
        first, size = self.first[classes][:, None], self.size[classes][:, None]
        place = self.place[index][:, None]
        drawn = first + numbers[:, : self.positives] % (size - 1).clamp_min(1)
        positives = drawn + ((drawn >= place) & (size > 1))
        drawn = numbers[:, self.positives :] % (len(self.order) - size)
        negatives = drawn + torch.where(drawn >= first, size, 0)
        return self.order[positives], self.order[negatives]

    def _numbers(self, index: Tensor, step: int) -> Tensor:
        """(B, P + K) uniform integers of 63 bits: so many that the remainder of a division is uniform too."""
        key = mix(torch.full_like(index, self.seed) + _GAMMA) + step
        key = mix(key + _GAMMA) + index
        counter = torch.arange(1, self.positives + self.negatives + 1, device=index.device)
        return mix(mix(key + _GAMMA)[:, None] + _GAMMA * counter) & (2**63 - 1)


def mix(x: Tensor) -> Tensor:
    """A bijection of 64-bit integers under which any change of the argument changes about half of the bits.

    The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), in the wrapping arithmetic of int64.
    """
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """To the right, with zeros coming in; that of int64 would repeat the sign."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


_GAMMA = _signed(0x9E3779B97F4A7C15)  # steps of the counter: 2^64 over the golden ratio
