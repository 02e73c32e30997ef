import pytest

from mcl.losses.classification import classification
from mcl.losses.distillation import kl_divergence, mean_of_others
from mcl.losses.dml import mutual_divergence, smoothed_divergence


def test_mean_over_peers(arrays, close, gradients):
    golden = arrays("dml")
    logits = golden.leaf("logits")
    term = mutual_divergence(logits, temperature=float(golden["temperature"]))
    close(term, golden["mean_over_peers.loss.divergence"])
    total = classification(logits, golden.labels()) + term
    close(total, golden["mean_over_peers.loss.total"])
    close(gradients(total, logits)[0], golden["mean_over_peers.gradient"])


def test_authors_code(arrays, close, gradients):
    golden = arrays("dml")
    logits = golden.leaf("logits")
    total = classification(logits, golden.labels()) + smoothed_divergence(logits)
    close(total, golden["paper.loss"].sum())
    close(gradients(total, logits)[0], golden["paper.gradient"])


@pytest.mark.parametrize("case", ["attached_pairwise", "attached_mean"])
def test_attached_targets(arrays, close, gradients, case):
    golden = arrays("dml")
    logits = golden.leaf("logits")
    temperature = float(golden["attached.temperature"])
    if case == "attached_mean":
        term = kl_divergence(mean_of_others(logits), logits, temperature=temperature, epsilon=1e-7)
    else:
        term = kl_divergence(logits.flip(0), logits, temperature=temperature, epsilon=1e-7)
    total = classification(logits, golden.labels()) + term
    close(total, golden[f"{case}.loss.total"])
    close(gradients(total, logits)[0], golden[f"{case}.gradient"])


@pytest.mark.parametrize("networks", [2, 3, 4])
def test_networks_learn_from_the_mean_of_all_others(random_logits, close, gradients, divergence, networks):
    logits, _ = random_logits(networks)
    term = mutual_divergence(logits, temperature=2.0)
    pairs = [divergence(logits[j], logits[i], 2.0) for i in range(networks) for j in range(networks) if i != j]
    expected = sum(pairs) / (networks - 1)
    close(term, expected)
    close(gradients(term, logits)[0], gradients(expected, logits)[0])


@pytest.mark.parametrize("networks", [2, 3, 4])
def test_smoothed_divergence_sums_over_all_others(random_logits, close, networks):
    logits, _ = random_logits(networks)
    p = logits.softmax(-1)
    pairs = [(i, j) for i in range(networks) for j in range(networks) if i != j]
    expected = sum((p[j] * (1e-8 + p[j] / (p[i] + 1e-8)).log()).sum(-1).mean() for i, j in pairs)
    close(smoothed_divergence(logits), expected)
