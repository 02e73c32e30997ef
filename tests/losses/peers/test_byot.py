import pytest
import torch.nn.functional as F

from mcl.losses.byot import feature_distance, soft_cross_entropy


@pytest.fixture
def case(arrays):
    golden = arrays("byot")
    return golden, {
        key: golden.leaf(key) for key in ("logits.final", "logits.branch", "feature.final", "feature.branch")
    }


def terms(golden, leaves):
    heads, last = leaves["logits.branch"], leaves["logits.final"]
    soft = [soft_cross_entropy(head, last, temperature=float(golden["temperature"])) for head in heads]
    distance = [feature_distance(head, leaves["feature.final"]) for head in leaves["feature.branch"]]
    return soft, distance, [F.cross_entropy(logits, golden.labels()) for logits in (last, *heads)]


def test_terms(case, close):
    golden, leaves = case
    soft, distance, cross_entropy = terms(golden, leaves)
    for k, (a, b, c) in enumerate(zip(soft, distance, cross_entropy[1:], strict=True)):
        close(a, golden["loss.distillation.branch"][k])
        close(b, golden["loss.feature.branch"][k])
        close(c, golden["loss.cross_entropy.branch"][k])
    close(cross_entropy[0], golden["loss.cross_entropy.final"])


@pytest.mark.parametrize("form", ["code", "paper"])
def test_totals_and_gradients(case, close, gradients, form):
    golden, leaves = case
    alpha, beta = float(golden["alpha"]), float(golden["beta"])
    soft, distance, (last, *heads) = terms(golden, leaves)
    total = ((1 - alpha) if form == "code" else 1.0) * last + (1 - alpha) * sum(heads)
    total = total + alpha * sum(soft) + beta * sum(distance)
    close(total, golden[f"{form}.total"])
    keys = ["logits.final", "logits.branch", "feature.branch"]
    for key, gradient in zip(keys, gradients(total, *(leaves[key] for key in keys)), strict=True):
        close(gradient, golden.get(f"{form}.grad.{key}", golden[f"code.grad.{key}"]))
    total.backward()
    assert leaves["feature.final"].grad is None
    assert not golden["code.grad.feature.final"].any()
