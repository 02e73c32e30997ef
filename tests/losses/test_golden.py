"""Values and gradients of the published method, to ten digits."""

import pytest
import torch

from mcl.losses.base import MetaSchedule
from mcl.losses.contrast import last_stage_contrast, mutual_contrast
from mcl.losses.distillation import logit_distillation

CASES = ["contrast_m2_s3", "contrast_m2_s3_heterogeneous", "contrast_m3_s2", "contrast_m2_s4"]
CONTRAST = ("vcl", "soft_vcl", "icl", "soft_icl")
PUBLISHED = torch.tensor([0.1, 1, 0.1, 1], dtype=torch.float64)


@pytest.mark.parametrize("case", CASES)
def test_terms_of_a_training_step(golden, close, case):
    case = golden(case)
    terms = case.lmcl()(case.outputs(), case.batch())
    assert list(terms) == ["classification", "distillation", *CONTRAST]
    for name in (*CONTRAST, "classification"):
        close(terms[name], case[f"loss.{name}"])
    close(terms["distillation"], case["loss.logit_distillation"])


@pytest.mark.parametrize("case", CASES)
def test_matching_weights(golden, close, case):
    case = golden(case)
    weights = case.lmcl().matching(case.nested("embedding"))
    same_network = torch.block_diag(*(torch.ones(stages, stages) for stages in case.stages)).bool()
    close(weights.masked_fill(same_network[:, :, None], 0), case.weights())


@pytest.mark.parametrize("case", CASES)
def test_aggregated_logits(golden, close, case):
    case = golden(case)
    for i, aggregated in enumerate(case.lmcl().aggregate(case.outputs())):
        close(aggregated, case[f"aggregated_logits.{i}"])


@pytest.mark.parametrize("case", CASES)
def test_training_differentiates_contrast_with_fixed_matching_weights(golden, close, case):
    case = golden(case)
    loss, outputs = case.lmcl(), case.outputs(requires_grad=True)
    terms = loss(outputs, case.batch())
    weighted = loss.total({name: terms[name] for name in CONTRAST})
    close(weighted, case["loss.weighted"])
    weighted.backward()
    for i, network in enumerate(outputs):
        for k, features in enumerate(network.features):
            close(features.grad, case[f"grad.embedding.{i}.{k}"])
    assert all(parameter.grad is None for parameter in loss.meta_parameters().values())


@pytest.mark.parametrize("case", CASES)
def test_inner_objective_differentiates_the_matching_and_its_features_too(golden, close, case):
    case = golden(case)
    loss, outputs = case.lmcl(MetaSchedule()), case.outputs(requires_grad=True)
    objective = loss.inner_objective(outputs, case.batch())
    close(objective, case["loss.weighted"])
    objective.backward()
    for i, network in enumerate(outputs):
        for k, features in enumerate(network.features):
            close(features.grad, case[f"grad_attached.embedding.{i}.{k}"])
            for name, parameter in loss.matching.projections[i][k].named_parameters():
                close(parameter.grad, case[f"grad_attached.weight_projection.{i}.{k}.{name}"])


@pytest.mark.parametrize("case", CASES)
def test_inner_objective_with_detached_features_still_reaches_the_matching(golden, close, case):
    case = golden(case)
    loss, outputs = case.lmcl(MetaSchedule(attach_features=False)), case.outputs(requires_grad=True)
    loss.inner_objective(outputs, case.batch()).backward()
    for i, network in enumerate(outputs):
        for k, features in enumerate(network.features):
            close(features.grad, case[f"grad.embedding.{i}.{k}"])
            for name, parameter in loss.matching.projections[i][k].named_parameters():
                close(parameter.grad, case[f"grad_attached.weight_projection.{i}.{k}.{name}"])


def test_network_learns_from_its_own_aggregated_logits_too(golden, close):
    case = golden("contrast_m3_s2")
    students = [network[-1] for network in case.nested("logits")]
    teachers = [case[f"aggregated_logits.{i}"] for i in range(len(students))]
    close(logit_distillation(students, teachers, temperature=case.temperature), case["loss.logit_distillation"])


@pytest.mark.parametrize("case", ["contrast_unequal_stages", "contrast_lonely_anchors"])
def test_contrast_of_unequal_stages_and_anchors_without_positives(golden, close, case):
    case = golden(case)
    embeddings = case.nested("z", requires_grad=True)
    terms = mutual_contrast(
        [torch.stack(stages) for stages in embeddings],
        case.labels,
        case.weights(within=7.0),
        tau=case.tau,
        temperature=case.temperature,
    )
    _check(case, close, terms, embeddings, "grad.z.{}.{}")


@pytest.mark.parametrize("case", ["mcl_n2", "mcl_n4"])
def test_contrast_of_the_last_stages(golden, close, case):
    case = golden(case)
    embeddings = [case[f"z.{i}"].clone().requires_grad_() for i in range(len(case.stages))]
    terms = last_stage_contrast(embeddings, case.labels, tau=case.tau, temperature=case.temperature)
    _check(case, close, terms, [[z] for z in embeddings], "grad.z.{}")


def _check(case, close, terms, embeddings, gradient):
    for name, value in terms._asdict().items():
        close(value, case[f"loss.{name}"])
    (PUBLISHED @ torch.stack(terms)).backward()
    for i, stages in enumerate(embeddings):
        for k, embedding in enumerate(stages):
            close(embedding.grad, case[gradient.format(i, k)])
