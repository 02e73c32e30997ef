"""Accuracy against cost: marks at their true cost, and a line for each of many rows, in the report and on its page."""

from pathlib import Path

import pytest
from support.run_folders import write_run

from mcl.reports.cost_lines import line_figure
from mcl.reports.cost_marks import cost_figure
from mcl.reports.cost_plot import against_cost, cost_panels
from mcl.reports.page.build import page_of_rows
from mcl.reports.page.charts import charts
from mcl.reports.rows import rows_of_folders
from mcl.runs.reading import find_runs

pytest.importorskip("plotly")


def test_marks_stand_at_their_true_cost(tmp_path: Path) -> None:
    for seed in range(3):
        for loss in ("independent", "mcl", "lmcl"):
            write_run(tmp_path, loss, seed, [70.0 + seed, 71.0])
    rows = rows_of_folders(find_runs(tmp_path))
    (panel,) = charts(rows, "top1_last", [])["cost"]
    costs = [point["cost"] for point in panel["points"]]
    assert costs == [2e6, 2e6, 4.8e6]
    assert [point["crowd"] for point in panel["points"]] == [2, 2, 1]
    (axes,) = cost_figure(rows, cost_panels(rows, "top1_last")).axes
    assert {float(x) for line in axes.lines for x in line.get_xdata()} == {2e6, 4.8e6}
    assert all(line.get_transform() == axes.transData for line in axes.lines)
    assert [text.get_text() for text in axes.texts] == ["independent", "mcl"]
    assert axes.get_title() == "resnet8\nresnet8 on digits, epoch 4, n = 3 runs"


def test_long_names_stay_within_the_picture(tmp_path: Path) -> None:
    long = "a label of many words " * 8
    for seed in range(2):
        for loss, value in (("mcl", f"{long} 1"), ("mcl", f"{long} 2"), ("independent", "")):
            write_run(tmp_path, loss, seed, [70.0 + seed, 71.0], settings={"loss__form": value})
    rows = rows_of_folders(find_runs(tmp_path))
    figure = cost_figure(rows, cost_panels(rows, "top1_last"))
    figure.draw_without_rendering()
    (legend,), (axes,) = figure.legends, figure.axes
    for part in (legend, *axes.texts):
        ends = part.get_window_extent()
        assert figure.bbox.x0 <= ends.x0 < ends.x1 <= figure.bbox.x1
    assert axes.bbox.width > figure.bbox.width / 2


def test_many_rows_have_a_line_each_in_the_order_of_their_cost(tmp_path: Path) -> None:
    losses = ["lmcl", "mcl", "independent", "dml", "kdcl", "kd", "one", "okddip", "pcl"]
    for loss in losses:
        for seed in range(2):
            write_run(tmp_path, loss, seed, [70.0 + seed, 71.0 + seed])
    rows = rows_of_folders(find_runs(tmp_path))
    picture = against_cost(rows, "top1_last", ["svg"])
    assert picture is not None
    assert "Rows are in the order of their cost" in picture.caption
    accuracy, price = line_figure(rows, cost_panels(rows, "top1_last")).axes
    names = [label.get_text() for label in accuracy.get_yticklabels()]
    assert sorted(names) == sorted(losses)
    assert names[-1] == "lmcl"  # 4.8e6 instead of 2e6
    marks = [line for line in price.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in marks] == [2e6] * 8 + [4.8e6]
    assert [line.get_ydata()[0] for line in marks] == list(range(9))
    runs = [line for line in accuracy.lines if line.get_marker() == "|"]
    assert {tuple(line.get_xdata()) for line in runs} == {(70.5, 71.5)}  # mean of both networks
    values = charts(rows, "top1_last", [])
    assert values["cost"] == []  # the page shows the picture
    shown = page_of_rows(rows, "top1_last", ["# T"], [], [picture], {})
    assert values["accuracy"]
    assert "data:image/svg+xml" in shown
    assert "Rows are in the order of their cost" in shown
    assert 'id="chart-cost"' not in shown
