"""Factors on the learning rate of parts of the networks, for fine-tuning."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mcl.networks.branches import Network
from mcl.networks.cohort import Cohort
from mcl.runs.fine_tuning import HEAD_LR_FACTOR, LAYER_DECAY

LR_FACTOR, PART = "lr_factor", "part"  # keys in the groups of an optimizer, beside torch's own


@dataclass(frozen=True)
class LrFactors:
    """``optimizer.head_lr_factor`` and ``optimizer.layer_decay``.

    A backbone of S stages has the depths 0 (stem) to S (last stage), and what follows. Depth d has the factor
    ``layer_decay ** (S + 1 - d)``, as fine-tuning of BEiT and ConvNeXt has it (arXiv 2106.08254, 2201.03545). The
    classifiers of backbone and branches have the factor ``head``. All else, such as branches and the loss, has 1.

    Args:
        head: factor of the classifiers.
        layer_decay: from 0, exclusive, to 1.
    """

    head: float = 1.0
    layer_decay: float = 1.0

    @classmethod
    def of(cls, optimizer: Mapping[Any, Any]) -> "LrFactors":
        """Return the factors of the group ``optimizer`` of a configuration."""
        return cls(float(optimizer.get(HEAD_LR_FACTOR, 1)), float(optimizer.get(LAYER_DECAY, 1)))

    def groups(self, cohort: Cohort, trained: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """Return the groups of an optimizer with a factor other than 1, named ``first/stem``, ``first/stage1``, ...

        What networks share belongs to the first of them.

        Args:
            cohort: the networks.
            trained: the parameters that are trained.
        """
        left = {id(parameter) for parameter in trained}
        groups = []
        for key, network in cohort.items():
            for name, modules, factor in self._parts(network):
                parameters = [each for module in modules for each in module.parameters() if id(each) in left]
                if parameters and factor != 1:
                    groups.append({"params": parameters, LR_FACTOR: factor, PART: f"{key}/{name}"})
                    left -= {id(parameter) for parameter in parameters}
        return groups

    def _parts(self, network: Network) -> Iterator[tuple[str, list[nn.Module], float]]:
        backbone = network.backbone
        depths = [("stem", backbone.stem), *((f"stage{k}", stage) for k, stage in enumerate(backbone.stages, 1))]
        for depth, (name, module) in enumerate(depths):
            yield name, [module], self.layer_decay ** (len(depths) - depth)
        yield "classifier", network.classifiers(), self.head


EQUAL = LrFactors()
