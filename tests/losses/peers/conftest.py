"""Arrays of the rivals' official codes, float64, and agreement with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

FOLDER = Path(__file__).parent.parent.parent / "golden" / "peers"


class Arrays(dict[str, Tensor]):
    """One file of arrays by key; labels as integers."""

    def __init__(self, name: str):
        arrays = np.load(FOLDER / f"{name}.npz")
        super().__init__({key: torch.from_numpy(arrays[key]) for key in arrays if arrays[key].dtype.kind in "fi"})

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the arrays whose keys start with ``prefix.``, by the rest of the key."""
        return {key.removeprefix(f"{prefix}."): value for key, value in self.items() if key.startswith(f"{prefix}.")}

    def leaf(self, key: str) -> Tensor:
        """Return a copy that requires a gradient."""
        return self[key].clone().requires_grad_()

    def labels(self, key: str = "labels") -> Tensor:
        return self[key].long()


@pytest.fixture(scope="session")
def arrays():
    """Load a file of arrays by name."""
    return Arrays


@pytest.fixture
def close():
    """Assert agreement to 1e-10, relative to the largest entry, or 1 if that is less."""

    def check(actual: Tensor, expected: Tensor) -> None:
        expected = torch.as_tensor(expected)
        bound = 1e-10 * max(1.0, expected.abs().max().item())
        torch.testing.assert_close(actual.detach(), expected.to(actual), rtol=0, atol=bound)

    return check


@pytest.fixture
def gradients():
    """Return the gradients of a scalar with respect to tensors."""

    def differentiate(value: Tensor, *tensors: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(value, tensors, retain_graph=True))

    return differentiate


@pytest.fixture
def random_logits():
    """Return logits (N, 5, 4) and labels (5,) that depend on N alone."""

    def draw(networks: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(networks)
        logits = 3 * torch.randn(networks, 5, 4, dtype=torch.float64, generator=generator)
        return logits.requires_grad_(), torch.randint(4, (5,), generator=generator)

    return draw


def plain_divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T² KL(teacher ‖ student) as PyTorch computes it, the teacher detached."""
    student, teacher = ((x / temperature).log_softmax(-1) for x in (student, teacher.detach()))
    value = torch.nn.functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
    return temperature**2 * value


@pytest.fixture(scope="session")
def divergence():
    return plain_divergence
