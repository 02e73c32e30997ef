"""The cohort: networks that learn together from the same batches."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.branches import Network
from mcl.types import NetworkShape, Outputs


class Cohort(nn.Module):
    """N >= 1 networks, with or without auxiliary branches.

    The initial weights of network i depend on ``seed`` and i alone, and those of its branches on a stream of their own.
    A seed therefore gives the same backbones under every loss and beside any other network.

    Args:
        factories: make the networks, by their keys in the pair, e.g. ``{"first": ..., "second": ...}``.
        branched: give every network its auxiliary branches.
        seed: non-negative.
        maps: return the feature maps of all stages too.
    """

    def __init__(
        self, factories: Mapping[str, Callable[[], Backbone]], *, branched: bool, seed: int, maps: bool = False
    ):
        super().__init__()
        if not factories:
            raise UserError("pair: holds no network; it needs at least one, e.g. network@pair.first=resnet8.")
        self.networks = nn.ModuleDict()
        for key in factories:
            if not key or "." in key or hasattr(self.networks, key):
                raise UserError(
                    f"pair.{key}: PyTorch cannot name a network {key!r}, because modules have an attribute of that name"
                    " or it has a dot. Choose another key, e.g. network@pair.first=resnet8."
                )
        for i, (key, make) in enumerate(factories.items()):
            with _seeded(seed, i, 0):
                backbone = make()
            with _seeded(seed, i, 1):
                self.networks[key] = Network(backbone, branched=branched, maps=maps)

    def __iter__(self) -> Iterator[Network]:
        return iter(cast("list[Network]", self.networks.values()))

    @property
    def keys(self) -> list[str]:
        """The keys of the networks in the pair, in order."""
        return list(self.networks)

    @property
    def backbones(self) -> list[Backbone]:
        """The networks as they are deployed."""
        return [network.backbone for network in self]

    @property
    def names(self) -> list[str]:
        """The names of the architectures, in order."""
        return [backbone.name for backbone in self.backbones]

    @property
    def widths(self) -> list[list[int]]:
        """The feature width of each stage of each network."""
        return [network.widths for network in self]

    def shapes(self) -> list[NetworkShape]:
        """Return the sizes of each network, which the modules of a loss are built for."""
        return [network.shape() for network in self]

    def forward(self, images: Tensor) -> list[Outputs]:
        """Map images (B, channels, height, width) to the outputs of each network."""
        return [network(images) for network in self]


@contextmanager
def _seeded(seed: int, *path: int) -> Iterator[None]:
    """Seed the global generator from a seed and a path, and restore its state afterwards."""
    (state,) = np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(state))
        yield
