"""The claim in study.yaml: valid contents."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mcl.errors import UserError
from mcl.studies.study import Study, load_study, studies_folder

PAGE = """
title: A claim
hold: [dataset=synthetic, trainer.max_steps=2]
vary:
  arm:
    independent: [loss=independent]
    long: [loss=independent, trainer.max_steps=4]
    tuned: [loss=independent, optimizer.lr=0.05]
    lmcl: [loss=lmcl]
    without vcl: [loss=lmcl, loss.weights.vcl=0]
  size:
    small: [pair=resnet8]
    large: [pair=resnet20]
baseline: {arm: independent}
claim:
  method: {arm: lmcl}
  equal_cost: {arm: long}
  tuned: {arm: tuned}
  ablations:
    terms: [{arm: without vcl}]
"""


@pytest.fixture
def page(tmp_path: Path) -> Callable[[str, str], Study]:
    def read(old: str, new: str) -> Study:
        assert old in PAGE
        (tmp_path / "study.yaml").write_text(PAGE.replace(old, new))
        return load_study(tmp_path)

    return read


def test_claim_names_its_rows(page: Callable[[str, str], Study]) -> None:
    claim = page("title", "title").claim
    assert claim is not None
    assert claim.method == {"arm": "lmcl"}
    assert claim.controls == {"equal cost": {"arm": "long"}, "tuned": {"arm": "tuned"}}
    assert claim.ablations == {"terms": [{"arm": "without vcl"}]}


def test_controls_and_ablations_are_optional(page: Callable[[str, str], Study]) -> None:
    claim = page(PAGE[PAGE.index("  equal_cost") :], "").claim
    assert claim is not None
    assert (claim.controls, claim.ablations) == ({}, {})


def test_claim_in_the_documentation_is_valid(tmp_path: Path) -> None:
    manual = (studies_folder().parent / "docs" / "studies.md").read_text()
    block = manual.partition("## A claim")[2].partition("```yaml\n")[2].partition("```")[0]
    arms = dict.fromkeys(re.findall(r"\{arm: ([\w ]+)\}", block))
    choices = {arm: [f"optimizer.lr={number / 100}"] for number, arm in enumerate(arms, 1)}
    (tmp_path / "study.yaml").write_text(f"title: A claim\nvary: {json.dumps({'arm': choices})}\n{block}")
    claim = load_study(tmp_path).claim
    assert claim is not None
    assert list(claim.controls) == ["equal cost", "tuned"]
    assert sum(map(len, claim.ablations.values())) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("method: {arm: lmcl}", "method: {arm: lmlc}", "claim.method: arm has no lmlc. Did you mean 'lmcl'?"),
        ("  method: {arm: lmcl}\n", "", "claim.method is not set"),
        ("tuned: {arm: tuned}", "tuend: {arm: tuned}", "tuend: there is no such option. Did you mean 'tuned'?"),
        ("equal_cost: {arm: long}", "equal_cost: {size: small}", "claim.equal_cost must name the factors"),
        ("tuned: {arm: tuned}", "tuned: {size: small}", "claim.tuned must name the factors of the baseline: arm"),
        ("equal_cost: {arm: long}", "equal_cost: {arm: independent}", "claim.equal_cost and baseline are the same row"),
        ("[{arm: without vcl}]", "[{arm: lmcl}]", "claim.ablations.terms, 1 and claim.method are the same row"),
        ("claim:", "skip: [{arm: long}]\nclaim:", "skip leaves no row for claim.equal_cost: {arm: long}."),
        ("claim:", "skip: [{arm: independent}]\nclaim:", "skip leaves no row for baseline: {arm: independent}."),
        ("baseline: {arm: independent}", "", "claim needs a baseline, such as baseline: {loss: independent}"),
    ],
)
def test_errors_in_a_claim_name_the_file(page: Callable[[str, str], Study], old: str, new: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        page(old, new)
    assert message in str(error.value)
    assert "study.yaml" in str(error.value)
