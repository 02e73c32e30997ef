import pytest
import torch
import torch.nn.functional as F

from mcl.losses.classification import classification
from mcl.losses.distillation import kl_divergence
from mcl.losses.kdcl import general_weights, target

FORMS = ["naive", "linear", "min_logit", "general"]


@pytest.mark.parametrize("form", FORMS)
def test_targets_losses_and_gradients(arrays, close, gradients, form):
    golden = arrays("kdcl")
    key = form.replace("_", "")
    logits, labels = golden.leaf("logits"), golden.labels()
    weights = general_weights(golden["held_out.logits"], golden.labels("held_out.labels"))
    close(weights, golden["general.weights"])
    aim = target(logits, labels, form, weights=weights)
    assert not aim.requires_grad
    close(aim, golden[f"{key}.target"])
    term = kl_divergence(aim, logits, temperature=float(golden["temperature"]))
    close(term, golden[f"{key}.loss.distillation"])
    total = classification(logits, labels) + float(golden["weight"]) * term
    close(total, golden[f"{key}.loss.total"])
    close(gradients(total, logits)[0], golden[f"{key}.gradient"])


@pytest.mark.parametrize("sharpness", [0.3, 3.0])
@pytest.mark.parametrize("networks", [2, 3, 4])
def test_linear_targets_meet_the_conditions_of_the_minimum(networks, sharpness):
    generator = torch.Generator().manual_seed(networks)
    logits = sharpness * torch.randn(networks, 60, 7, dtype=torch.float64, generator=generator)
    labels = torch.randint(7, (60,), generator=generator)
    aim = target(logits, labels, "linear").requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(aim, labels, reduction="sum"), aim)
    change = torch.einsum("bc,nbc->nb", slope, logits - aim.detach())  # towards each network
    assert change.min() > -1e-12  # no way leads down
    vertex = (logits == aim).all(-1).any(0)
    assert 0 < vertex.sum() < 60  # some targets are one network's, some are mixtures


@pytest.mark.parametrize("networks", [2, 3, 4])
def test_targets_in_plain_loops(random_logits, close, networks):
    logits, labels = random_logits(networks)
    naive, smallest = (torch.empty_like(logits[0]) for _ in range(2))
    for b, label in enumerate(labels.tolist()):
        costs = [F.cross_entropy(network[b], labels[b]).item() for network in logits]
        naive[b] = logits[costs.index(min(costs)), b].detach()
        smallest[b] = torch.stack([network[b] - network[b, label] for network in logits.detach()]).min(0).values
    close(target(logits, labels, "naive"), naive)
    close(target(logits, labels, "min_logit"), smallest)
    close(target(logits, labels, "general"), logits.mean(0).detach())
    bound = F.cross_entropy(naive, labels, reduction="none") + 1e-12
    for form in ("linear", "min_logit"):
        assert (F.cross_entropy(target(logits, labels, form), labels, reduction="none") <= bound).all()


@pytest.mark.parametrize("networks", [2, 3, 4])
def test_general_weights_solve_the_linear_system(random_logits, close, networks):
    logits, labels = random_logits(networks)
    errors = logits.softmax(-1) - F.one_hot(labels, 4)
    matrix = torch.stack([torch.stack([(a * b).sum(-1).mean() for b in errors]) for a in errors])
    solution = torch.linalg.solve(matrix, torch.ones(networks, dtype=torch.float64))
    close(general_weights(logits, labels), solution.detach() / solution.sum().detach())


def test_identical_networks_weigh_the_same(random_logits):
    logits, labels = random_logits(2)
    same = torch.stack([logits[0], logits[0], logits[1]])
    assert general_weights(same, labels).tolist() == pytest.approx([1 / 3] * 3)
    torch.testing.assert_close(target(same[:2], labels, "linear"), logits[0].detach())


def test_public_code_uses_the_mean_of_all(arrays, close, gradients):
    golden = arrays("kdcl")
    logits, labels = golden.leaf("logits"), golden.labels()
    aim = target(logits, labels, "general")
    close(aim, golden["mean.target"])
    alpha, temperature = float(golden["mean.alpha"]), float(golden["mean.temperature"])
    total = (1 - alpha) * classification(logits, labels) + alpha * kl_divergence(aim, logits, temperature=temperature)
    close(total, golden["mean.loss"].sum())
    close(gradients(total, logits)[0], golden["mean.gradient"])


def test_unknown_form_is_refused(random_logits):
    with pytest.raises(ValueError, match=r"'best'.*naive, linear"):
        target(*random_logits(2), "best")


def test_first_of_equally_good_networks_is_the_naive_target(close):
    logits = torch.tensor([[[2.0, 0, 1]], [[-1.0, -3, -2]]], dtype=torch.float64)  # the same but for a constant
    close(target(logits, torch.tensor([0]), "naive"), logits[0])


def test_linear_target_is_exact_where_logits_are_large(close):
    ln2 = torch.tensor(2.0, dtype=torch.float64).log() / 2
    for h in (10.0, 20.0, 50.0):  # the exact mixture has the weights 1 / 2 + ln 2 / (4 h) and the rest
        logits = torch.tensor([[h, h, h, -h, -h], [h, h, -h, h, h]], dtype=torch.float64)[:, None]
        close(target(logits, torch.tensor([0]), "linear")[0, 2:], torch.stack([ln2, -ln2, -ln2]))


def test_weights_of_a_confident_network_beside_an_unsure_one(close):
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    sure = 8 * (2 * F.one_hot(labels, 3).double() - 1)
    unsure = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = torch.stack([sure, unsure])
    errors = logits.softmax(-1) - F.one_hot(labels, 3)
    products = torch.einsum("imc,jmc->ij", errors, errors)
    (a, b), (_, c) = products.tolist()
    close(general_weights(logits, labels), torch.tensor([c - b, a - b], dtype=torch.float64) / (a + c - 2 * b))


def test_weights_given_for_the_general_target_get_no_gradient(random_logits):
    logits, labels = random_logits(2)
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64, requires_grad=True)
    assert not target(logits, labels, "general", weights=weights).requires_grad
