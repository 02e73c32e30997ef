"""The interface of the losses to training: terms, weights, parameters, errors."""

from functools import partial

import pytest
import torch

from mcl.errors import UserError
from mcl.losses.base import MetaSchedule
from mcl.losses.deep_supervision import DeepSupervision
from mcl.losses.distillation import mean_logit_distillation
from mcl.losses.independent import Independent
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import FixedMatching, LayerMatching
from mcl.losses.mcl import MCL
from mcl.reference import formulas as textbook
from mcl.types import Batch, Outputs

LABELS = torch.tensor([0, 1, 0, 1, 2, 2])
BATCH = Batch(torch.empty(0), LABELS, torch.arange(6))


def outputs(widths: list[list[int]], requires_grad: bool = False) -> list[Outputs]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_(requires_grad)

    return [Outputs([random(6, width) for width in stages], [random(6, 3) for _ in stages]) for stages in widths]


def lmcl(widths: list[list[int]], matching=LayerMatching, meta: MetaSchedule | None = None, **options) -> LMCL:
    return LMCL(widths=widths, matching=matching, meta=meta, dim=5, **options)


@pytest.mark.parametrize("networks", [1, 2])
def test_independent_networks_classify_with_their_backbones(networks):
    widths = [[4, 4]] * networks
    network_outputs = outputs(widths)
    terms = Independent(widths=widths)(network_outputs, BATCH)
    expected = textbook.classification([[network.logits[-1]] for network in network_outputs], LABELS)
    assert list(terms) == ["classification"]
    torch.testing.assert_close(terms["classification"], expected)


def test_deep_supervision_classifies_with_every_stage():
    widths = [[4, 4, 4], [6, 6]]
    network_outputs = outputs(widths)
    loss = DeepSupervision(widths=widths)
    torch.testing.assert_close(
        loss(network_outputs, BATCH)["classification"],
        textbook.classification([network.logits for network in network_outputs], LABELS),
    )
    assert loss.needs_branches
    assert not Independent.needs_branches


def test_mcl_uses_last_stages_only():
    widths = [[4], [6]]
    network_outputs = outputs(widths)
    loss = MCL(widths=widths, dim=5)
    longer = [Outputs([torch.zeros(6, 9), *n.features], [torch.zeros(6, 3), *n.logits]) for n in network_outputs]
    short, long = loss(network_outputs, BATCH), loss(longer, BATCH)
    assert set(short) == {"classification", "vcl", "soft_vcl", "icl", "soft_icl"}
    assert all(torch.equal(short[name], long[name]) for name in short)


def test_mcl_defaults_are_the_published_ones():
    loss = MCL(widths=[[4], [4]])
    assert loss.weights == {
        "classification": 1.0,
        "distillation": 0.0,
        "vcl": 0.1,
        "soft_vcl": 1.0,
        "icl": 0.1,
        "soft_icl": 1.0,
    }
    assert (loss.tau, loss.temperature) == (0.1, 3.0)
    assert loss.heads[0][0].layers[2].out_features == 128


def test_mcl_distils_mean_logits_when_its_factor_is_not_zero():
    widths = [[4], [6], [4]]
    network_outputs = outputs(widths)
    loss = MCL(widths=widths, weights={"distillation": 2.0}, dim=5)
    terms = loss(network_outputs, BATCH)
    expected = mean_logit_distillation([network.logits[-1] for network in network_outputs], temperature=3.0)
    torch.testing.assert_close(terms["distillation"], expected)
    without = sum(value * loss.weights[name] for name, value in terms.items() if name != "distillation")
    torch.testing.assert_close(loss.total(terms), without + 2 * expected)


def test_total_weighs_every_term():
    widths = [[4, 4], [6, 6]]
    factors = {"classification": 2.0, "distillation": 3.0, "vcl": 5.0, "soft_vcl": 7.0, "icl": 11.0, "soft_icl": 13.0}
    loss = lmcl(widths, weights=factors)
    terms = loss(outputs(widths), BATCH)
    assert set(terms) == set(factors)
    torch.testing.assert_close(loss.total(terms), sum(factors[name] * value for name, value in terms.items()))


def test_default_weights_equal_the_published_ones():
    loss = lmcl([[4, 4], [6, 6]], weights={"vcl": 0.3})
    assert (loss.weights["vcl"], loss.weights["icl"], loss.weights["distillation"]) == (0.3, 0.1, 1.0)


def test_unknown_weight_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"loss\.weights\.soft_vlc.*'soft_vcl'"):
        lmcl([[4], [4]], weights={"soft_vlc": 1.0})


def test_training_reaches_everything_but_the_matching():
    widths = [[4, 4], [6, 6]]
    loss, network_outputs = lmcl(widths), outputs(widths, requires_grad=True)
    loss.total(loss(network_outputs, BATCH)).backward()
    reached = {name for name, parameter in loss.named_parameters() if parameter.grad is not None}
    assert reached == {name for name, _ in loss.named_parameters()} - set(loss.meta_parameters())
    assert all(x.grad is not None for network in network_outputs for x in (*network.features, *network.logits))


def test_inner_objective_is_the_weighted_contrast():
    widths = [[4, 4], [6, 6, 6]]
    loss, network_outputs = lmcl(widths, meta=MetaSchedule(), weights={"vcl": 0.5, "soft_icl": 2.0}), outputs(widths)
    terms = loss(network_outputs, BATCH)
    expected = sum(loss.weights[name] * terms[name] for name in ("vcl", "soft_vcl", "icl", "soft_icl"))
    torch.testing.assert_close(loss.inner_objective(network_outputs, BATCH), expected)


def test_outer_objective_is_the_classification_of_the_stages():
    widths = [[4, 4], [6, 6, 6]]
    loss, network_outputs = lmcl(widths, meta=MetaSchedule()), outputs(widths)
    expected = textbook.classification([network.logits for network in network_outputs], LABELS)
    torch.testing.assert_close(loss.outer_objective(network_outputs, BATCH), expected)


def test_meta_round_moves_heads_and_learns_matching_by_their_names_in_the_loss():
    loss = lmcl([[4, 4], [6, 6]], meta=MetaSchedule())
    named = dict(loss.named_parameters())
    inner, meta = loss.inner_parameters(), loss.meta_parameters()
    assert {name.split(".")[0] for name in named} - {name.split(".")[0] for name in inner | meta} == {"aggregators"}
    assert {name.split(".")[0] for name in inner} == {"heads"}
    assert {name.split(".")[0] for name in meta} == {"matching"}
    assert all(named[name] is parameter for name, parameter in (inner | meta).items())


def test_sizes_of_the_modules_of_a_resnet32_pair_are_the_published_ones():
    loss = LMCL(widths=[[64] * 3] * 2, matching=LayerMatching, meta=MetaSchedule())
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in loss.named_children()}
    assert sizes == {"heads": 148_992, "aggregators": 25_094, "matching": 49_920, "contrast": 0}


def test_fixed_matching_weighs_contrast():
    widths = [[4, 4], [6, 6]]
    one = lmcl(widths, matching=FixedMatching)
    same = lmcl(widths, matching=partial(FixedMatching, same_stage=True))
    same.load_state_dict(one.state_dict())
    network_outputs = outputs(widths)
    a, b = one(network_outputs, BATCH), same(network_outputs, BATCH)
    torch.testing.assert_close(b["vcl"], a["vcl"] / 2)  # each stage meets one other stage instead of two
    assert b["icl"] < a["icl"]


def test_fixed_matching_cannot_be_meta_learned():
    with pytest.raises(UserError, match=r"FixedMatching has nothing to learn.*loss\.meta=null"):
        lmcl([[4], [4]], matching=FixedMatching, meta=MetaSchedule())


@pytest.mark.parametrize("loss", [MCL, lmcl])
def test_mutual_losses_need_two_networks(loss):
    with pytest.raises(UserError, match=r"MCL .* 1 given.*pair=.*loss=independent"):
        loss(widths=[[4, 4]])


@pytest.mark.parametrize("option", ["tau", "temperature"])
def test_temperatures_must_be_positive(option):
    with pytest.raises(UserError, match=rf"loss\.{option}=0"):
        MCL(widths=[[4], [4]], **{option: 0.0})


@pytest.mark.parametrize("loss", [MCL, lmcl])
def test_temperatures_that_overflow_exponentials_are_refused(loss):
    widths = [[4, 4], [4, 4]]
    with pytest.raises(UserError, match=r"loss\.tau=0\.005, loss\.temperature=0\.7: .* Use loss\.tau=0\.0085 or more"):
        loss(widths=widths, tau=0.005, temperature=0.7)
    loss(widths=widths, tau=0.0085, temperature=0.7)
