"""docs/methods.md has a row for each method, with the measured accuracy of the committed report."""

import re

from support.doc_pages import ROOT

PAGE = (ROOT / "docs" / "methods.md").read_text()
REPORT = (ROOT / "experiments" / "methods_few_images" / "RESULTS.md").read_text()
ROW = re.compile(r"^\| .* \| `loss=(\w+)` \| .*\| (\S+ ± \S+) \|$", re.MULTILINE)
MEASURED = re.compile(r"^\| (\w+), resnet8 \| (\S+) \| \S+ to \S+ \| (\S+) \| 5 \|$", re.MULTILINE)


def test_measured_accuracies_are_those_of_the_report() -> None:
    measured = {loss: f"{mean} ± {deviation}" for loss, mean, deviation in MEASURED.findall(REPORT)}
    assert len(measured) == 15
    assert dict(ROW.findall(PAGE)) == measured
