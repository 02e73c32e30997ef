"""The cohort: networks that learn together from the same batches."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.networks.branch_kinds import check_fits
from mcl.networks.branch_names import COPY
from mcl.networks.branches import Network
from mcl.networks.shared_stages import SharedStages
from mcl.types import NetworkShape, Outputs

SEPARATE_VIEWS = 5  # dimensions of images that hold a view for each network


class Cohort(nn.Module):
    """N >= 1 networks, with or without auxiliary branches.

    The initial weights of network i depend on ``seed`` and i alone, and those of its branches on a stream of their own.
    A seed therefore gives the same backbones under every loss and beside any other network.

    Args:
        factories: make the networks, by their keys in the pair, e.g. ``{"first": ..., "second": ...}``.
        branched: give every network its auxiliary branches.
        seed: non-negative.
        maps: return the feature maps of all stages too.
        frozen: keys of the networks that are never trained.
        unbranched: keys of the networks that get no auxiliary branches.
        branch_kinds: the kind of auxiliary branches of a network, by its key; ``copy`` for those left out.
        frozen_stages: how many first stages of a network are not trained, by its key.
        shared_stages: stages that the networks share, 0 for none: see `mcl.networks.shared_stages.SharedStages`.
        rescale_gradients: divide the gradient at each fork of shared stages by its number of children.

    Raises:
        UserError: There is no network, PyTorch cannot use a key, or a network cannot have these branches, frozen stages
            or shared stages.
    """

    def __init__(
        self,
        factories: Mapping[str, Callable[[], Backbone]],
        *,
        branched: bool,
        seed: int,
        maps: bool = False,
        frozen: Collection[str] = (),
        unbranched: Collection[str] = (),
        branch_kinds: Mapping[str, str] = MappingProxyType({}),
        frozen_stages: Mapping[str, int] = MappingProxyType({}),
        shared_stages: int | Sequence[int] = 0,
        rescale_gradients: bool = False,
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
            kind, with_branches = branch_kinds.get(key, COPY), branched and key not in unbranched
            if with_branches:
                check_fits(backbone, kind, option=f"pair.{key}.branches")
            with _seeded(seed, i, 1):
                self.networks[key] = Network(
                    backbone,
                    branched=with_branches,
                    branch_kind=kind,
                    maps=maps,
                    frozen=key in frozen,
                    frozen_stages=_check_stages(key, backbone, frozen_stages.get(key, 0)),
                )
        self.shared: SharedStages | None = None
        if shared_stages:
            self.shared = SharedStages(self.backbones, shared_stages, rescale_gradients=rescale_gradients)

    def __iter__(self) -> Iterator[Network]:
        return iter(cast("list[Network]", self.networks.values()))

    def __getitem__(self, key: str) -> Network:
        """Return the network with a key."""
        return cast(Network, self.networks[key])

    def items(self) -> list[tuple[str, Network]]:
        """Return the networks with their keys in the pair, in order."""
        return list(zip(self.keys, self, strict=True))

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
        shared = 0 if self.shared is None else self.shared.trunk
        return [network.shape()._replace(shared=shared) for network in self]

    def forward(self, images: Tensor) -> list[Outputs]:
        """Map images to the outputs of each network.

        Args:
            images: (B, channels, height, width), or (N, B, channels, height, width): a view for each network.
        """
        views = images.unbind() if images.dim() == SEPARATE_VIEWS else [images]
        if self.shared is not None:
            maps = self.shared.feature_maps(self.backbones, views)
            return [network.outputs(stages) for network, stages in zip(self, maps, strict=True)]
        return [_run(network, views[i % len(views)]) for i, network in enumerate(self)]


def _check_stages(key: str, backbone: Backbone, frozen: int) -> int:
    """Return the number of frozen stages; raise UserError if the network has fewer."""
    if frozen > len(backbone.stages):
        raise UserError(
            f"pair.{key}.freeze={frozen}: {backbone.name} has {len(backbone.stages)} stages. Give 1 to"
            f" {len(backbone.stages)}, or 0 for none."
        )
    return frozen


def _run(network: Network, images: Tensor) -> Outputs:
    """Run a network, without gradients if it is frozen."""
    with torch.no_grad() if network.frozen else nullcontext():
        outputs: Outputs = network(images)
    return outputs


@contextmanager
def _seeded(seed: int, *path: int) -> Iterator[None]:
    """Seed the global generator from a seed and a path, and restore its state afterwards."""
    (state,) = np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(state))
        yield
