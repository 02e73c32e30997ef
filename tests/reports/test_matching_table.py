"""Matching weights in numbers: the first and the last moment, averaged over runs."""

from collections.abc import Callable
from pathlib import Path

from support.report_pages import cells, three_seeds


def test_first_and_last_moment_of_learned_matching(tmp_path: Path, page: Callable[..., str]) -> None:
    text = page(three_seeds(tmp_path / "runs"))
    # 0.5 + 0.1 * share of training * (0.5 - distance of the stages / 2). At the end the three equal stages have 0.55,
    # the four neighbors 0.5, the two others 0.45: means 0.55, (4 * 0.5 + 2 * 0.45) / 6, and 0.5056 of all nine.
    below = text.split("## Where the learned weights go\n")[1].split("\n## ")[0]
    first, last = [line.strip("|").split(" | ") for line in below.splitlines() if line.startswith("| lmcl")]
    assert first[2:5:2] == ["1", "0.512"]  # a quarter of training: 0.5125
    assert last[2:8] == ["4", "0.506", "0.550", "0.483", "0.550", "0.450"]
    assert [each.strip() for each in last[8:]] == ["stage1 and stage1", "stage1 and backbone"]


def test_runs_without_matching_have_no_such_section(tmp_path: Path, page: Callable[..., str]) -> None:
    three_seeds(tmp_path / "runs")
    text = page(tmp_path / "runs" / "digits" / "resnet8" / "independent")
    assert cells(text, "Accuracy", "independent")
    assert "learned weights" not in text
