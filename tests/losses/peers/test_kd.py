import pytest
import torch
import torch.nn.functional as F
from support.plain_losses import batch_of, cross_entropy, divergence, outputs_of

from mcl.errors import UserError
from mcl.losses.kd import KD, distillation
from mcl.types import NetworkShape


def shapes(networks, frozen):
    return [NetworkShape([8], [8], 4, frozen=i in frozen) for i in range(networks)]


@pytest.mark.parametrize("case", ["cifar", "imagenet"])
def test_values_and_gradients_of_the_official_code(arrays, close, gradients, case):
    golden = arrays("kd").under(case)
    student, teacher = (golden[f"logits.{name}"].clone().requires_grad_() for name in ("student", "teacher"))
    term = distillation(student, teacher, temperature=float(golden["temperature"]))
    classification = F.cross_entropy(student, golden["labels"].long())
    total = golden["weight.cross_entropy"] * classification + golden["weight.distillation"] * term
    close(term, golden["loss.distillation"])
    close(total, golden["loss.total"])
    close(gradients(total, student)[0], golden["grad.logits.student"])
    total.backward()
    assert teacher.grad is None


@pytest.mark.parametrize(("networks", "teacher"), [(3, 0), (3, 1), (3, 2), (4, 1), (4, 3)])
@pytest.mark.parametrize(
    ("form", "temperature", "weights"), [("cifar", 4.0, (0.1, 0.9)), ("imagenet", 1.0, (0.5, 0.5))]
)
def test_several_students_learn_from_one_teacher(
    random_logits, close, gradients, networks, teacher, form, temperature, weights
):
    logits, labels = random_logits(networks)
    loss = KD(shapes=shapes(networks, [teacher]), form=form)
    total = loss.total(loss(outputs_of(logits), batch_of(labels)))
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(networks):
        if i != teacher:
            expected = expected + weights[0] * cross_entropy(logits[i], labels)
            expected = expected + weights[1] * divergence(logits[teacher], logits[i], temperature)
    close(total, expected)
    (gradient,), (expected_gradient,) = (gradients(value, logits) for value in (total, expected))
    close(gradient, expected_gradient)
    assert not gradient[teacher].any()
    assert loss.deployed(shapes(networks, [teacher])) == [i for i in range(networks) if i != teacher]


@pytest.mark.parametrize(("networks", "frozen"), [(3, [1, 2]), (4, [0, 3]), (3, [])])
def test_two_teachers_or_none_are_refused(networks, frozen):
    with pytest.raises(UserError, match=f"its teacher; {len(frozen)} of {networks} are frozen"):
        KD(shapes=shapes(networks, frozen))
