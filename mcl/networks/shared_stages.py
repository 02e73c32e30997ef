"""Stages that several networks of a cohort share: a tree of forks, from one trunk to a head for each network."""

import itertools
from collections.abc import Sequence

from torch import Tensor

from mcl.errors import UserError
from mcl.gradient_rescaling import rescale_gradient
from mcl.networks.backbone import Backbone

OPTION = "pair.shared_stages"


class SharedStages:
    """Let backbones of one architecture share the modules of their first stages.

    A shared module is one object in all its backbones. So each backbone stays a whole network, with the state-dict keys
    of its own: evaluation, checkpoints and export need not know that it is shared.

    Args:
        backbones: N alike networks; the shared modules of the later ones are replaced by those of an earlier one.
        copies: the number of stages that all share, or per stage how many copies of it there are: ``[1, 2, 4]`` is a
            binary tree for four networks. Stages left out have N. The stem goes with the first stage.
        rescale_gradients: divide the gradient of each module's output by its number of children.

    Raises:
        UserError: the networks differ, or cannot share so.
    """

    def __init__(self, backbones: Sequence[Backbone], copies: int | Sequence[int], *, rescale_gradients: bool = False):
        check_alike(backbones)
        per_stage = _copies_per_stage(copies, len(backbones[0].stages), len(backbones))
        stages = [_assign(count, len(backbones)) for count in per_stage]
        for before, after in itertools.pairwise(stages):
            if len(set(zip(before, after, strict=True))) > len(set(after)):
                raise UserError(
                    f"{OPTION}={copies}: a copy of one stage would follow two copies of the stage before. Give numbers"
                    f" that divide one another, such as [1,{len(backbones)}]."
                )
        self.copies = per_stage
        self.copy_of = [stages[0], *stages]  # [depth][network], the stem at depth 0
        self.rescale_gradients = rescale_gradients
        for depth, owners in enumerate(self.copy_of):
            first = [owners.index(copy) for copy in owners]
            for backbone, owner in zip(backbones, first, strict=True):
                if depth == 0:
                    backbone.stem = backbones[owner].stem
                else:
                    backbone.stages[depth - 1] = backbones[owner].stages[depth - 1]

    @property
    def trunk(self) -> int:
        """The number of stages that all networks share."""
        return self.copies.count(1)

    def feature_maps(self, backbones: Sequence[Backbone], views: Sequence[Tensor]) -> list[list[Tensor]]:
        """Return the maps of each network's stages. A shared module runs once, or once for each view.

        Args:
            backbones: those that share.
            views: one batch of images for all, or one for each network.
        """
        networks = range(len(backbones))
        view_of = list(networks) if len(views) > 1 else [0] * len(backbones)
        inputs = [views[view] for view in view_of]
        maps: list[list[Tensor]] = [[] for _ in networks]
        for depth, copies in enumerate(self.copy_of):
            computed: dict[tuple[int, int], Tensor] = {}
            for i in networks:
                key = copies[i], view_of[i]
                if key not in computed:
                    module = backbones[i].stages[depth - 1] if depth else backbones[i].stem
                    computed[key] = module(inputs[i])
                maps[i].append(computed[key])
            for i in networks:
                inputs[i] = maps[i][-1]
                if self.rescale_gradients:
                    inputs[i] = rescale_gradient(inputs[i], self._children(depth, copies[i]))
        return [[*stages[1:-1], last] for stages, last in zip(maps, inputs, strict=True)]

    def _children(self, depth: int, copy: int) -> int:
        """Return how many modules of the next depth, or heads, read a module's output."""
        readers = [i for i, each in enumerate(self.copy_of[depth]) if each == copy]
        if depth + 1 == len(self.copy_of):
            return len(readers)
        return len({self.copy_of[depth + 1][i] for i in readers})


def check_alike(backbones: Sequence[Backbone]) -> None:
    """Raise UserError unless all networks have the same modules, in the same order.

    Raises:
        UserError: There are fewer than two networks, they differ, or their class overrides how the stages run.
    """
    if len(backbones) < 2:
        raise UserError(f"{OPTION}: one network shares nothing. Choose a pair of two, or {OPTION}=0.")
    first = backbones[0]
    for backbone in backbones[1:]:
        if repr(backbone) != repr(first) or _shapes(backbone) != _shapes(first):
            raise UserError(
                f"{OPTION}: {first.name} and {backbone.name} have unlike stages and cannot share them. Choose a pair of"
                f" one architecture (pair=resnet32), or {OPTION}=0."
            )
    if type(first).feature_maps is not Backbone.feature_maps or type(first).forward is not Backbone.forward:
        raise UserError(f"{OPTION}: {first.name} overrides how its stages run, so they cannot be shared: use 0.")


def _shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}


def _copies_per_stage(copies: int | Sequence[int], stages: int, networks: int) -> list[int]:
    if isinstance(copies, int):
        if copies > stages:
            raise UserError(f"{OPTION}={copies}: the networks have {stages} stages; share at most these.")
        copies = [1] * copies
    numbers = [*copies, *[networks] * (stages - len(copies))]
    if len(numbers) > stages or list(numbers) != sorted(numbers) or numbers[0] < 1 or numbers[-1] > networks:
        raise UserError(
            f"{OPTION}={list(copies)}: needs for each of the {stages} stages its number of copies, from 1 to"
            f" {networks}, and never fewer than for the stage before."
        )
    return numbers


def _assign(copies: int, networks: int) -> list[int]:
    """Return which copy each network uses: consecutive networks share one, in groups as equal as can be."""
    return [i * copies // networks for i in range(networks)]
