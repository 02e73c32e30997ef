"""The picture of differences: what stands in which panel, and what pictures leave out."""

from pathlib import Path

import pytest
from support.report_pages import three_seeds
from support.run_folders import write_run

from mcl.reports.comparisons import compare_rows
from mcl.reports.difference_plot import difference_panels, difference_plot
from mcl.reports.page.build import page_of_rows
from mcl.reports.rows import Rows, rows_of_folders
from mcl.runs.reading import find_runs
from mcl.studies.claim import Claim


def rows_with_claim(runs: Path) -> Rows:
    for seed, top1 in enumerate((70.5, 71.5, 71.0)):
        write_run(runs, "mcl", seed, [top1, top1])
        write_run(runs, "deep_supervision", seed, [top1 + 1, top1 + 1])
    rows = rows_of_folders(find_runs(three_seeds(runs)))
    ablations = {"terms": [{"loss": "mcl"}]}
    rows.claim = Claim({"loss": "lmcl"}, equal_cost={"loss": "deep_supervision"}, ablations=ablations)
    return rows


def test_every_row_and_every_control_has_a_line(tmp_path: Path) -> None:
    rows = rows_with_claim(tmp_path)
    panels = difference_panels(rows, compare_rows(rows, "top1_last"))
    assert list(panels) == ["resnet8"]
    means = {name: one.comparison.difference.mean for name, one in panels["resnet8"].items()}
    assert means == {"deep_supervision": 1.0, "mcl": 0.0, "lmcl": 2.0, "lmcl − deep_supervision": 1.0}


def test_control_with_settings_of_its_own_is_named_with_them(tmp_path: Path) -> None:
    for seed, top1 in enumerate((72.5, 73.5, 73.0)):
        write_run(tmp_path, "independent", seed, [top1, top1], settings={"optimizer__lr": 0.5})
    rows = rows_of_folders(find_runs(three_seeds(tmp_path)))
    factor = next(name for name in rows.factors if name.endswith("lr"))
    rows.claim = Claim({"loss": "lmcl"}, tuned={factor: "0.5", "loss": "independent"})
    panels = difference_panels(rows, compare_rows(rows, "top1_last"))
    assert [list(panel)[1:] for panel in panels.values()] == [[f"lmcl − independent, {factor}=0.5"]]


def test_picture_has_its_numbers_in_words_and_the_page_shows_it(tmp_path: Path) -> None:
    rows = rows_with_claim(tmp_path)
    picture = difference_plot(rows, compare_rows(rows, "top1_last"), "top1_last", ["svg"])
    assert picture is not None
    assert "resnet8: deep_supervision +1.00 (" in picture.alt
    assert "lmcl +2.00 (−0.48 to +4.48) and lmcl − deep_supervision +1.00 (" in picture.alt
    assert picture.caption.endswith("The last lines are the method minus other rows.")
    pytest.importorskip("plotly")
    page = page_of_rows(rows, "top1_last", ["# Results"], [], [picture], {"results.csv": ""})
    assert '<img alt="Differences in points of test top-1' in page
    assert "data:image/svg+xml;base64," in page


def test_ablations_are_left_out_of_the_other_pictures(tmp_path: Path) -> None:
    rows = rows_with_claim(tmp_path)
    assert [row.labels["loss"] for row in rows.without_ablations().rows] == ["independent", "deep_supervision", "lmcl"]
    assert len(rows.rows) == 4
