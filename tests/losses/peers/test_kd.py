import pytest
import torch.nn.functional as F

from mcl.losses.kd import distillation


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
