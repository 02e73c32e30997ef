import pytest
import torch

from mcl.losses.cl_ilr import divergence as half_divergence
from mcl.losses.cl_ilr import rescale_gradient
from mcl.losses.classification import classification
from mcl.losses.distillation import kl_divergence, mean_of_others


def test_losses_and_gradients(arrays, close, gradients):
    golden = arrays("cl_ilr")
    logits = golden.leaf("logits")
    term = half_divergence(logits, temperature=float(golden["temperature"]))
    close(term, golden["mclokd.loss.divergence"])
    total = 0.5 * classification(logits, golden.labels()) + term
    close(total, golden["mclokd.loss.total"])
    close(gradients(total, logits)[0], golden["mclokd.gradient"])


def test_attached_targets_and_rescaled_gradients(arrays, close, gradients):
    golden = arrays("cl_ilr")
    leaf = golden.leaf("logits")
    logits = rescale_gradient(leaf, len(leaf))
    temperature = float(golden["okddip_repo.temperature"])
    term = kl_divergence(mean_of_others(logits), logits, temperature=temperature, epsilon=1e-7)
    close(term, golden["okddip_repo.loss.divergence"])
    total = classification(logits, golden.labels()) + golden["okddip_repo.ramp"] * term
    close(total, golden["okddip_repo.loss.total"])
    rescaled, whole = gradients(total, leaf, logits)
    close(whole, golden["okddip_repo.gradient"])
    close(rescaled, whole / len(leaf))


@pytest.mark.parametrize("networks", [2, 3, 4])
def test_each_learns_from_the_mean_of_the_others(random_logits, close, gradients, divergence, networks):
    logits, _ = random_logits(networks)
    others = [torch.stack([*logits[:i], *logits[i + 1 :]]).mean(0) for i in range(networks)]
    expected = 0.5 * sum(divergence(others[i], logits[i], 2.0) for i in range(networks))
    term = half_divergence(logits, temperature=2.0)
    close(term, expected)
    close(gradients(term, logits)[0], gradients(expected, logits)[0])


def test_rescaling_is_the_identity_forwards_and_differentiable_twice():
    x = torch.randn(3, dtype=torch.float64).requires_grad_()
    assert torch.equal(rescale_gradient(x, 3), x)
    (gradient,) = torch.autograd.grad(rescale_gradient(x, 3).pow(2).sum(), x, create_graph=True)
    torch.testing.assert_close(gradient, 2 * x / 3)
    assert torch.autograd.grad(gradient.sum(), x)[0].isfinite().all()
