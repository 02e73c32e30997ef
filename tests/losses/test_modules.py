"""The small modules and functions that losses are made of."""

import pytest
import torch
import torch.nn.functional as F

from mcl.losses.aggregation import Aggregator
from mcl.losses.classification import classification
from mcl.losses.distillation import logit_distillation, mean_logit_distillation
from mcl.losses.heads import ProjectionHead
from mcl.losses.matching import FixedMatching, LayerMatching
from mcl.losses.numerics import l2_normalize
from mcl.reference import formulas as textbook

WIDTHS = [[4, 4, 4], [6, 6]]


def features(batch: int = 5, seed: int = 0) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(batch, width, generator=generator) for width in stages] for stages in WIDTHS]


def logits(networks: int, batch: int = 5, classes: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, classes, generator=generator, dtype=torch.float64) for _ in range(networks)]


def test_learned_matching_has_the_published_keys_and_range():
    matching = LayerMatching(WIDTHS, dim=7)
    assert set(matching.state_dict()) == {
        f"projections.{i}.{k}.{name}"
        for i, k in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
        for name in ("weight", "bias")
    }
    weights = matching(features())
    assert weights.shape == (5, 5, 5)
    assert weights.min() >= torch.tensor(-1.0).sigmoid() - 1e-6
    assert weights.max() <= torch.tensor(1.0).sigmoid() + 1e-6


def test_learned_matching_orders_nodes_network_by_network():
    matching, inputs = LayerMatching(WIDTHS, dim=7), features()
    weights = matching(inputs)
    query, key = matching.projections[0][1](inputs[0][1]), matching.projections[1][0](inputs[1][0])
    expected = textbook.matching_weight(query, key)
    torch.testing.assert_close(weights[1, 3], expected)
    torch.testing.assert_close(weights[3, 1], expected)


def test_learned_matching_of_a_resnet32_pair_has_the_published_size():
    matching = LayerMatching([[64] * 3] * 2)
    assert sum(parameter.numel() for parameter in matching.parameters()) == 49_920


def test_matching_of_one_stage_is_one_everywhere():
    assert torch.equal(FixedMatching(WIDTHS)(features()), torch.ones(5, 5, 5))


def test_one_to_one_matching_counts_stages_from_the_last():
    weights = FixedMatching(WIDTHS, same_stage=True)(features())[..., 0]
    assert weights[:3, 3:].tolist() == [[0, 0], [1, 0], [0, 1]]
    assert torch.equal(weights, weights.T)


def test_fixed_matching_has_nothing_to_learn_or_to_save():
    matching = FixedMatching(WIDTHS)
    assert not list(matching.parameters())
    assert not matching.state_dict()
    assert matching([[stage.double() for stage in stages] for stages in features()]).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unit_vectors_have_finite_derivatives_at_zero(dtype):
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=dtype, requires_grad=True)
    result = l2_normalize(vectors)
    torch.testing.assert_close(result, torch.tensor([[0.0, 0.0], [0.6, 0.8]], dtype=dtype))
    (first,) = torch.autograd.grad(result.sigmoid().square().sum(), vectors, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), vectors)
    assert first.isfinite().all()
    assert second[1].isfinite().all()
    (mixed,) = torch.autograd.grad(l2_normalize(vectors)[:, 0].sum(), vectors, create_graph=True)
    assert torch.autograd.grad(mixed[:, 1].sum(), vectors)[0].isfinite().all()


def test_matching_of_zero_features_has_finite_second_derivatives():
    matching = LayerMatching(WIDTHS, dim=3)
    for parameter in matching.parameters():
        torch.nn.init.zeros_(parameter)
    weights = matching(features())
    torch.testing.assert_close(weights, torch.full_like(weights, 0.5))
    gradients = torch.autograd.grad(weights.sum(), list(matching.parameters()), create_graph=True)
    second = torch.autograd.grad(sum(g.sum() for g in gradients), list(matching.parameters()), materialize_grads=True)
    assert all(g.isfinite().all() for g in (*gradients, *second))


def test_projection_head_ends_on_the_unit_sphere():
    head = ProjectionHead(4, 7)
    assert set(head.state_dict()) == {f"layers.{n}.{name}" for n in (0, 2) for name in ("weight", "bias")}
    embedding = head(features()[0][0])
    assert embedding.shape == (5, 7)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(5))


def test_projection_head_normalizes_in_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding = ProjectionHead(4, 7)(features()[0][0])
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(5))


def test_aggregated_logits_are_a_convex_combination_of_the_stages():
    aggregator = Aggregator(4, 3)
    assert set(aggregator.state_dict()) == {f"layers.{n}.{name}" for n in (0, 2) for name in ("weight", "bias")}
    stages = torch.stack([x.float() for x in logits(3)])
    aggregated = aggregator(features()[0], list(stages))
    assert aggregated.shape == (5, 3)
    assert (aggregated <= stages.amax(0)).all()
    assert (aggregated >= stages.amin(0)).all()
    same = [stages[0]] * 3
    torch.testing.assert_close(aggregator(features()[0], same), stages[0])


def test_classification_sums_over_heads():
    heads, labels = logits(4), torch.tensor([0, 1, 2, 0, 1])
    torch.testing.assert_close(classification(heads, labels), textbook.classification([heads[:1], heads[1:]], labels))


@pytest.mark.parametrize("networks", [1, 2, 4])
def test_logit_distillation_equals_the_textbook(networks):
    students, teachers = logits(networks), [2 * x + 1 for x in logits(networks + 1)]
    for x in (*students, *teachers):
        x.requires_grad_()
    fast = logit_distillation(students, teachers, temperature=3.0)
    slow = textbook.logit_distillation(students, teachers, temperature=3.0)
    torch.testing.assert_close(fast, slow)
    for a, b in zip(torch.autograd.grad(fast, students), torch.autograd.grad(slow, students), strict=True):
        torch.testing.assert_close(a, b)
    assert torch.autograd.grad(
        logit_distillation(students, teachers, temperature=3.0), teachers, allow_unused=True
    ) == (None,) * len(teachers)


def test_mean_logit_distillation_pulls_networks_to_the_detached_mean():
    networks = [x.requires_grad_() for x in logits(3)]
    mean = torch.stack(networks).mean(0).detach()
    expected = sum(9 * F.kl_div((x / 3).log_softmax(1), (mean / 3).softmax(1), reduction="batchmean") for x in networks)
    actual = mean_logit_distillation(networks, temperature=3.0)
    torch.testing.assert_close(actual, expected)
    for a, b in zip(torch.autograd.grad(actual, networks), torch.autograd.grad(expected, networks), strict=True):
        torch.testing.assert_close(a, b)
