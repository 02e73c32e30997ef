"""The module that is optimised: the networks together with the loss and its heads."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mcl import distributed
from mcl.devices import autocast
from mcl.losses.base import Loss
from mcl.networks.cohort import Cohort
from mcl.training.evaluation import head_names, to_float32
from mcl.types import Batch, Outputs


class Learner(nn.Module):
    """One forward pass of training: networks in the chosen precision, the loss in float32 or better.

    Args:
        cohort: the networks.
        loss: what they learn from; it may own projection heads, aggregators and a matching network.
    """

    def __init__(self, cohort: Cohort, loss: Loss):
        super().__init__()
        self.cohort = cohort
        self.loss = loss
        self.precision = "float32"
        self.networks: Callable[[Tensor], list[Outputs]] | None = None  # what the step calls instead of the cohort

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], list[Outputs]]:
        """Weighted total, raw terms, and what every network said."""
        with autocast(batch.images.device, self.precision):
            outputs = (self.networks or self.cohort)(batch.images)
        outputs = to_float32(outputs)
        with distributed.sharing(batch.whole):
            terms = self.loss(outputs, batch)
        return self.loss.total(terms), terms, outputs

    def trained_parameters(self) -> list[nn.Parameter]:
        """All parameters but the meta-parameters, which an optimizer of their own moves."""
        meta = {id(parameter) for parameter in self.loss.meta_parameters().values()}
        return [parameter for parameter in self.parameters() if id(parameter) not in meta]

    @torch.no_grad()
    def measure(
        self, total: Tensor, terms: Mapping[str, Tensor], outputs: list[Outputs], batch: Batch
    ) -> dict[str, Tensor]:
        """The scalars of one step for the meters, by their names on the dashboard; still on the device."""
        values: dict[str, Tensor] = {f"train/{name}": value for name, value in terms.items()}
        weighted = torch._foreach_mul(list(terms.values()), [self.loss.weights[name] for name in terms])
        values |= {f"train/weighted/{name}": value for name, value in zip(terms, weighted, strict=True)}
        values["train/total"] = total
        right = torch.stack([network.logits[-1].argmax(dim=-1) == batch.labels for network in outputs])  # (N, B)
        top1 = 100 * right.float().mean(dim=1)
        values |= {f"train/top1/{key}": value for key, value in zip(self.cohort.keys, top1.unbind(), strict=True)}
        return values | self._matching(outputs)

    def _matching(self, outputs: list[Outputs]) -> dict[str, Tensor]:
        """``matching/first.stage1/second.backbone``: mean weights between the places of two networks."""
        means = self.loss.matching_means()
        if means is None:
            return {}
        places = [
            (key, f"{key}.{head}")
            for key, network in zip(self.cohort.keys, outputs, strict=True)
            for head in head_names(len(network.logits))
        ]
        return {
            f"matching/{place}/{other}": means[i, j]
            for i, (key, place) in enumerate(places)
            for j, (other_key, other) in enumerate(places[i:], i)
            if key != other_key
        }
