"""The module that is optimized: the networks, and the loss with its heads."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mcl import distributed
from mcl.devices import autocast
from mcl.losses.base import Loss, running_decay
from mcl.networks.cohort import Cohort
from mcl.training.averaging import start_average, update_average
from mcl.training.evaluation import head_names, to_float32
from mcl.types import Batch, Outputs


class Learner(nn.Module):
    """Run the forward pass of training: the networks in the chosen precision, the loss in float32 or float64.

    Args:
        cohort: the networks.
        loss: may own projection heads, aggregators and a matching network.

    Attributes:
        average: moving average of the cohort, if there is one.
        precision: precision of the networks.
        networks: called instead of the cohort if set, such as the compiled cohort.
    """

    def __init__(self, cohort: Cohort, loss: Loss):
        super().__init__()
        self.cohort = cohort
        self.loss = loss
        self.precision = "float32"
        self.ema: float | None = None
        self.average: Cohort | None = None
        self.networks: Callable[[Tensor], list[Outputs]] | None = None

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], list[Outputs]]:
        """Return the weighted total, the raw terms, and the outputs of every network."""
        outputs = self.run_networks(batch.images)
        teachers = self.run_teachers(batch.images) if self.loss.needs_ema else None
        return *self.judge(outputs, batch, teachers), outputs

    def run_networks(self, images: Tensor) -> list[Outputs]:
        """Return the outputs of every network."""
        with autocast(images.device, self.precision):
            outputs = (self.networks or self.cohort)(images)
        return to_float32(outputs)

    @torch.no_grad()
    def run_teachers(self, images: Tensor) -> list[Outputs]:
        """Return the outputs of the averaged networks, which collect batch statistics of their own."""
        assert self.average is not None, "start_average comes first"
        with autocast(images.device, self.precision):
            outputs = self.average(images)
        return to_float32(outputs)

    def judge(
        self, outputs: list[Outputs], batch: Batch, teachers: list[Outputs] | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted total and the raw terms of a batch; ``teachers`` if the loss needs averaged networks."""
        given = {} if teachers is None else {"teachers": teachers}
        with distributed.sharing(batch.whole):
            terms = self.loss(outputs, batch, **given)
        return self.loss.total(terms), terms

    @property
    def deployed(self) -> Cohort:
        """The networks that are evaluated and saved: their average if there is one."""
        return self.cohort if self.average is None else self.average

    def start_average(self, ema: float | None) -> None:
        """Start a moving average of the present weights if ``trainer.ema`` or the loss asks for one."""
        self.ema = ema
        if ema is not None or self.loss.needs_ema:
            self.average = start_average(self.cohort)

    def update_average(self, step: int) -> None:
        """Update the average after a step, counted from 0."""
        if self.average is not None:
            self.move_average(self.decay(step))

    def decay(self, step: int) -> float:
        """Return the decay of the average after a step, counted from 0."""
        return self.loss.decay(step) if self.ema is None else running_decay(step, self.ema)

    def move_average(self, decay: float) -> None:
        """Move the average towards the networks."""
        assert self.average is not None, "start_average comes first"
        # The teachers of a loss run in training, and collect batch statistics of their own.
        update_average(self.average, self.cohort, decay, buffers=self.ema is not None)

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the optimizer: all but frozen ones, those of averaged networks, meta-parameters."""
        others = list(self.loss.meta_parameters().values())
        frozen = [module for network in self.cohort for module in network.frozen_modules()]
        for module in [*frozen, *(self.average or ())]:
            others += module.parameters()
        left_out = {id(parameter) for parameter in others}
        return [parameter for parameter in self.parameters() if id(parameter) not in left_out]

    @torch.no_grad()
    def measure(
        self, total: Tensor, terms: Mapping[str, Tensor], outputs: list[Outputs], batch: Batch
    ) -> dict[str, Tensor]:
        """Return the scalars of one step by their names on the dashboard; they stay on the device."""
        values: dict[str, Tensor] = {f"train/{name}": value for name, value in terms.items()}
        weighted = torch._foreach_mul(list(terms.values()), [self.loss.weights[name] for name in terms])
        values |= {f"train/weighted/{name}": value for name, value in zip(terms, weighted, strict=True)}
        values["train/total"] = total
        hits = torch.stack([network.logits[-1].argmax(dim=-1) == batch.labels for network in outputs])  # (N, B)
        top1 = 100 * hits.float().mean(dim=1)
        values |= {f"train/top1/{key}": value for key, value in zip(self.cohort.keys, top1.unbind(), strict=True)}
        return values | self._matching(outputs)

    def _matching(self, outputs: list[Outputs]) -> dict[str, Tensor]:
        """Return mean matching weights between nodes: ``{"matching/first.stage1/second.backbone": ...}``."""
        means = self.loss.matching_means()
        if means is None:
            return {}
        nodes = [
            (key, f"{key}.{head}")
            for key, network in zip(self.cohort.keys, outputs, strict=True)
            for head in head_names(len(network.logits))
        ]
        return {
            f"matching/{node}/{other}": means[i, j]
            for i, (key, node) in enumerate(nodes)
            for j, (other_key, other) in enumerate(nodes[i:], i)
            if key != other_key
        }
