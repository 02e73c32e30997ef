"""Golden cases as tensors, float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mcl.losses.base import MetaSchedule
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.types import Batch, Outputs

FOLDER = Path(__file__).parent.parent / "golden"


class Golden:
    """One file of arrays, its keys indexed by network and stage."""

    def __init__(self, name: str):
        self.arrays = {key: torch.from_numpy(value) for key, value in np.load(FOLDER / f"{name}.npz").items()}
        nodes = [key.split(".") for key in self.arrays if key.startswith(("embedding.", "z."))]
        networks = sorted({int(node[1]) for node in nodes})
        self.stages = [sum(node[1] == str(i) for node in nodes) for i in networks]
        self.labels = self["labels"].long()
        self.tau = float(self["tau"])
        self.temperature = float(self["temperature"])

    def __getitem__(self, key: str) -> Tensor:
        return self.arrays[key]

    def nested(self, name: str, requires_grad: bool = False) -> list[list[Tensor]]:
        """``name.i.k`` by network and stage."""
        return [
            [self[f"{name}.{i}.{k}"].clone().requires_grad_(requires_grad) for k in range(stages)]
            for i, stages in enumerate(self.stages)
        ]

    def weights(self, within: float = 0.0) -> Tensor:
        """``weight.i.k.j.m`` as (G, G, B); the blocks of one network with itself are filled with ``within``."""
        nodes = [(i, k) for i, stages in enumerate(self.stages) for k in range(stages)]
        same = torch.full((len(self.labels),), within, dtype=torch.float64)
        rows = [[same if i == j else self[f"weight.{i}.{k}.{j}.{m}"] for j, m in nodes] for i, k in nodes]
        return torch.stack([torch.stack(row) for row in rows])

    def batch(self) -> Batch:
        return Batch(torch.empty(0), self.labels, torch.arange(len(self.labels)))

    def outputs(self, requires_grad: bool = False) -> list[Outputs]:
        features = self.nested("embedding", requires_grad)
        return [Outputs(*network) for network in zip(features, self.nested("logits"), strict=True)]

    def lmcl(self, meta: MetaSchedule | None = None) -> LMCL:
        """Return the loss with the modules of the case, loaded by the state-dict keys that are fixed."""
        widths = [[stage.shape[1] for stage in network] for network in self.nested("embedding")]
        loss = LMCL(
            widths=widths,
            matching=LayerMatching,
            meta=meta,
            tau=self.tau,
            temperature=self.temperature,
            dim=int(self["meta"][3]),
        ).double()
        for i, stages in enumerate(self.stages):
            aggregator = {key: self[f"aggregator.{i}.{key.removeprefix('layers.')}"] for key in LINEARS}
            loss.aggregators[i].load_state_dict(aggregator)
            for k in range(stages):
                head = {key: self[f"projection.{i}.{k}.{key.removeprefix('layers.')}"] for key in LINEARS}
                loss.heads[i][k].load_state_dict(head)
        prefix = "weight_projection."
        matching = {key.removeprefix(prefix): value for key, value in self.arrays.items() if key.startswith(prefix)}
        loss.matching.load_state_dict({f"projections.{key}": value for key, value in matching.items()})
        return loss


LINEARS = ("layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias")


@pytest.fixture(scope="session")
def golden():
    """Load a golden case by name."""
    return Golden


@pytest.fixture(scope="session")
def golden_memory():
    """Load a golden case of memory banks: its arrays, embeddings that require gradients, weights (G, G, B)."""

    def load(name: str) -> tuple[dict[str, Tensor], list[list[Tensor]], Tensor]:
        arrays = {key: torch.from_numpy(value) for key, value in np.load(FOLDER / f"{name}.npz").items()}
        networks, stages, batch = arrays["meta"][:3].tolist()
        embeddings = [[arrays[f"z.{i}.{k}"].requires_grad_() for k in range(stages)] for i in range(networks)]
        weights = torch.full((networks * stages, networks * stages, batch), 7.0, dtype=torch.float64)
        for key, value in arrays.items():
            if key.startswith("weight."):
                i, k, j, m = map(int, key.split(".")[1:])
                weights[i * stages + k, j * stages + m] = value
        return arrays, embeddings, weights

    return load


@pytest.fixture
def close():
    """Assert agreement to 1e-10, relative to the largest entry."""

    def check(actual: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10 * expected.abs().max().item())

    return check
