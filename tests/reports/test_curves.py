"""Learning curves if metrics.jsonl ends within an epoch or is incomplete."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.report_pages import cells
from support.run_folders import write_run

from mcl.reports.comparisons import Comparisons
from mcl.reports.page.charts import charts
from mcl.reports.page.series import lines
from mcl.reports.plots import pictures
from mcl.reports.rows import rows_of_folders
from mcl.runs.reading import find_runs

BACKBONE = "resnet8, backbone, mean of 2 networks"


@pytest.mark.parametrize("evaluated", [(10, 20, 25), (25,)])
def test_epoch_cut_by_max_steps_does_not_stretch_others(evaluated: tuple[int, ...], tmp_path: Path) -> None:
    folder = write_run(tmp_path, "mcl", 0, [70.0, 70.0], summary={"steps": 25, "epochs": 3})
    logged = [{"step": step, "epoch": -(-step // 10), "time": 1.0, "train/lr": 0.1} for step in (5, 10, 15, 20, 25)]
    logged += [{"step": s, "epoch": -(-s // 10), "time": 1.0, "test/first/backbone/top1": 70.0} for s in evaluated]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logged))
    (row,) = rows_of_folders(find_runs(tmp_path)).rows
    (line,) = lines(row)["pace", "learning rate"]
    assert line.epochs == (0.5, 1.0, 1.5, 2.0, 2.5)


@pytest.mark.parametrize("lost", ["all", "empty", "half"])
def test_row_keeps_its_curve_when_metrics_of_a_run_are_lost(
    lost: str, tmp_path: Path, page: Callable[..., str]
) -> None:
    for seed, top1 in enumerate([70.0, 72.0, 77.0]):
        folder = write_run(tmp_path / "runs", "lmcl", seed, [top1, top1], matching=True)
        write_run(tmp_path / "runs", "independent", seed, [70.0, 70.0])
    file = folder / "metrics.jsonl"
    logged = file.read_text().splitlines(keepends=True)
    file.write_text("".join(logged[: len(logged) // 2]) if lost == "half" else "")
    if lost == "all":
        file.unlink()
    rows = rows_of_folders(find_runs(tmp_path / "runs"))

    drawn = charts(rows, "top1_last", [])
    (series,) = [chart["lines"] for chart in drawn["accuracy"] if chart["name"] == BACKBONE]
    (mean,) = [line for line in series if line["run"] is None and line["row"] == 1]
    assert (mean["runs"], mean["y"]) == (2, [17.75, 35.5, 53.25, 71.0])
    assert (mean["low"], mean["high"]) == ([17.5, 35.0, 52.5, 70.0], [18.0, 36.0, 54.0, 72.0])
    assert drawn["matching"]["strips"][0]["moments"][-1]["epoch"] == 4
    if lost == "half":
        assert "seed 2 (incomplete metrics.jsonl)" in [line["run"] for line in series]

    curves = next(
        picture for picture in pictures(rows, Comparisons([]), "top1_last", ["svg"]) if picture.name == "curves"
    )
    assert "lmcl ends at 71.00" in curves.alt
    assert curves.caption.endswith("Drawn without the runs that have no complete curve: lmcl, 2 of 3.")

    text = page(tmp_path / "runs")
    assert cells(text, "Accuracy", "lmcl")[1::3] == ["73.00", "3"]
    assert cells(text, "At equal cost", "lmcl")[1] == "17.75 ± 0.35 (2 of 3 runs)"
    last = "that of step 20" if lost == "half" else "none"
    assert f"- lmcl, seed 2: metrics.jsonl lacks evaluations, so it gives no curve: the last there is {last}" in text
