import pytest

from mcl.losses.classification import classification
from mcl.losses.dks import synergy
from mcl.losses.dml import mutual_divergence


@pytest.mark.parametrize("case", ["plain", "sharp"])
def test_losses_and_gradients(arrays, close, gradients, case):
    golden = arrays("dks")
    logits = golden.leaf(f"{case}.logits")
    term = synergy(logits, epsilon=float(golden["epsilon"]))
    close(term, golden[f"{case}.loss.synergy"].sum())
    total = classification(logits, golden.labels()) + term
    close(total, golden[f"{case}.loss.total"])
    close(gradients(total, logits)[0], golden[f"{case}.grad.logits"])


def test_variant_without_smoothing(arrays, close, gradients):
    golden = arrays("dks")
    logits = golden.leaf("plain.logits")
    mean = mutual_divergence(logits, temperature=float(golden["selfkd.temperature"]))
    total = classification(logits, golden.labels()) + (len(logits) - 1) * mean
    close(total, golden["selfkd.total"])
    close(gradients(total, logits)[0], golden["selfkd.grad.logits"])


@pytest.mark.parametrize("heads", [2, 3, 4])
def test_all_ordered_pairs_in_plain_loops(random_logits, close, gradients, heads):
    logits, _ = random_logits(heads)
    p = (logits.softmax(-1) + 1e-8) / (1 + 4e-8)
    pairs = [(i, j) for i in range(heads) for j in range(heads) if i != j]
    expected = sum((p[j].detach() * (p[j].detach() / p[i]).log()).sum(-1).mean() for i, j in pairs)
    close(synergy(logits), expected)
    close(gradients(synergy(logits), logits)[0], gradients(expected, logits)[0])
