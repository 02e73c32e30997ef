"""docs/methods.md has the measured accuracies of the committed reports; its example computes what the page says."""

import re
from typing import Any

import torch
from support.doc_pages import ROOT, blocks

from mcl.types import Batch, Outputs

FILE = ROOT / "docs" / "methods.md"
PAGE = FILE.read_text()
STUDIES = ("methods_few_images", "methods_100_per_class")  # of the last two columns
ROW = re.compile(r"^\| .* \| `loss=(\w+)` \| .*\| (\S+ ± \S+) \| (\S+ ± \S+) \|$", re.MULTILINE)
MEASURED = re.compile(r"^\| (\w+), resnet8 \| (\S+) \| \S+ to \S+ \| (\S+) \| 5 \|$", re.MULTILINE)


def test_measured_accuracies_are_those_of_the_reports() -> None:
    reports = [(ROOT / "experiments" / study / "RESULTS.md").read_text() for study in STUDIES]
    for column, report in enumerate(reports, start=1):
        measured = {loss: f"{mean} ± {deviation}" for loss, mean, deviation in MEASURED.findall(report)}
        assert len(measured) == 15
        assert {row[0]: row[column] for row in ROW.findall(PAGE)} == measured


def test_example_draws_each_network_to_the_mean_prediction() -> None:
    (example,) = blocks(FILE, "python")
    names: dict[str, Any] = {}
    exec(compile(example, FILE, "exec"), names)
    loss = names["MeanPrediction"](shapes=[], temperature=1.0)
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    outputs = [Outputs(features=[torch.zeros(4, 8)], logits=[each]) for each in logits]
    terms = loss(outputs, Batch(torch.empty(0), torch.tensor([0, 1, 2, 0]), torch.arange(4)))
    target = logits.mean(0).log_softmax(-1)
    divergence = (target.exp() * (target - logits.log_softmax(-1))).sum() / 4
    torch.testing.assert_close(terms["distillation"], divergence)
    loss.set_epoch(20)  # the end of the ramp
    torch.testing.assert_close(loss.total(terms), terms["classification"] + terms["distillation"])
