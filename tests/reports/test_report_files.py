"""The files that a report writes, what it never replaces, and its errors."""

import csv
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.report_pages import study_of, three_seeds
from support.run_folders import write_run

from mcl.__main__ import main
from mcl.errors import UserError
from mcl.reports.figures import Picture

Page = Callable[..., str]


def test_csv_has_a_line_per_run_and_network(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    write_run(runs, "lmcl", 9, [72.0, 72.0], finished=False)
    page(runs)
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 2 * 2 + 1
    (row,) = [line for line in lines if (line["loss"], line["seed"], line["key"]) == ("lmcl", "1", "second")]
    expected = {"pair": "resnet8", "network": "resnet8", "status": "finished", "top1_last": "74", "top1_best": "75"}
    expected |= {"ensemble_top1_last": "77", "training_multiply_adds_total": "4800000", "equal_cost": "2000000"}
    expected |= {"epoch_at_equal_cost": "1", "top1_at_equal_cost": "18.5", "seconds": "21.0", "code_dirty": "False"}
    assert {key: row[key] for key in expected} == expected
    (open_run,) = [line for line in lines if line["status"] != "finished"]
    assert (open_run["seed"], open_run["status"], open_run["top1_last"]) == ("9", "unfinished", "")


def test_command_writes_identical_files_with_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    arguments = ["report", "runs/digits", "--format", "png", "--format", "svg", "--format", "pdf"]
    plots = ("differences", "curves", "cost", "matching")
    names = {f"{name}.{form}" for name in plots for form in ("png", "svg", "pdf")}
    written = []
    for _ in range(2):
        assert main(arguments) == 0
        assert capsys.readouterr().out == "runs/digits/RESULTS.md\n"
        written.append({file.name: file.read_bytes() for file in (tmp_path / "runs/digits").glob("*.*")})
    assert set(written[0]) == names | {"RESULTS.md", "results.csv"}
    assert written[0] == written[1]
    text = written[0]["RESULTS.md"].decode()
    for name in plots:
        assert re.search(rf"!\[[^\]]{{80,}}\]\({name}\.png\)", text)  # with an alternative text that says something
    assert "python -m mcl report runs/digits --format png --format svg --format pdf" in text


def test_pictures_of_an_earlier_report_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "mcl.reports.report.pictures", lambda *given: [Picture("cost", "", "", "", dict.fromkeys(given[-1], b""))]
    )
    assert main(["report", "runs/digits", "--format", "svg", "--format", "pdf"]) == 0
    assert "earlier" not in capsys.readouterr().err
    assert main(["report", "runs/digits"]) == 0
    assert "note: cost.pdf and cost.svg" in capsys.readouterr().err


def test_pictures_that_no_report_has_drawn_are_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mcl.reports.report.pictures", lambda *given: [Picture("cost", "", "", "", {"png": b"ours"})])
    (own := tmp_path / "paper" / "cost.png").parent.mkdir()
    own.write_bytes(b"mine")
    assert main(["report", "runs/digits", "--out", "paper"]) == 1
    assert "paper/cost.png was not written by this command, and would be lost" in capsys.readouterr().err
    assert (own.read_bytes(), [own]) == (b"mine", list(own.parent.iterdir()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: there is no such folder."),
        (["empty"], "empty holds no run. Give a folder of runs"),
        (["runs", "--baseline", "lmlc"], "--baseline lmlc: no single factor has this label. Did you mean 'lmcl'?"),
        (["runs", "--baseline", "loss=mcl"], "baseline loss=mcl: there is no such label."),
        (["runs", "--baseline", "los=mcl"], "baseline los=mcl: there is no such factor."),
        (["runs", "--runs", "elsewhere"], "--runs elsewhere: only a study's folder"),
        (["runs", "--out", "mine"], "mine/RESULTS.md was not written by this command"),
        (["runs", "--out", "empty/mine"], "empty/mine/results.csv was not written by this command"),
    ],
)
def test_errors_are_one_message_and_change_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    three_seeds(tmp_path / "runs")
    (tmp_path / "empty" / "mine").mkdir(parents=True)
    (tmp_path / "empty" / "mine" / "results.csv").write_text("my own numbers")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "RESULTS.md").write_text("my own words")
    before = sorted(tmp_path.rglob("*"))
    assert main(["report", *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "mine" / "RESULTS.md").read_text() == "my own words"


def test_study_without_runs_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    lines = ["title: Mine", "vary: {trainer.epochs: [1, 2]}", "seeds: [0, 1]", "baseline: {trainer.epochs: 1}"]
    (tmp_path / "mine" / "study.yaml").write_text("\n".join([*lines, "hold: [trainer.precision=float32]"]))
    assert main(["report", "mine", "--runs", "elsewhere"]) == 0
    text = (tmp_path / "mine" / "RESULTS.md").read_text()
    assert text.splitlines()[2] == "# Mine"
    assert "also 4 missing" in text
    assert "`python sweep.py study=mine runs=elsewhere` starts the missing runs" in text
    assert "- trainer.epochs=2, seeds 0 and 1: planned, and not run yet" in text
    assert "trainer.epochs=2 seed=1 runs=elsewhere" in text


def test_the_only_row_of_a_study_without_factors_has_no_name(tmp_path: Path, page: Page) -> None:
    study = study_of(three_seeds(tmp_path / "runs"), [0, 1, 2, 3])
    planned = [replace(run, labels={}) for run in study.runs if run.labels == study.runs[0].labels]
    text = page(study=replace(study, factors={}, baseline={}, runs=planned))
    assert "\n- seed 3: planned, and not run yet" in text


def test_results_are_not_replaced_by_those_of_fewer_runs(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    text = page(study=study_of(runs, [0, 1, 2]))
    for study, lost in ((study_of(tmp_path / "elsewhere", [0, 1, 2]), 6), (study_of(runs, [0, 1]), 2)):
        with pytest.raises(UserError, match=f"RESULTS.md has {lost} finished runs that would be lost"):
            page(study=study)
        assert (tmp_path / "out" / "RESULTS.md").read_text() == text
    assert page(study=study_of(runs, [0, 1, 2, 3])) != text


def test_results_are_not_replaced_by_those_of_other_settings(tmp_path: Path, page: Page) -> None:
    runs = tmp_path / "runs"
    old_report = page(study=study_of(three_seeds(runs), [0, 1, 2]))
    other = {"optimizer__lr": 0.2}
    for loss in ("independent", "lmcl"):
        for seed in range(3):
            write_run(runs, loss, seed, [50.0, 50.0], settings=other)
    for changes in ({}, {"factors": {"method": ["independent", "lmcl"]}, "baseline": {}}):
        study = study_of(runs, [0, 1, 2], other, **changes)
        with pytest.raises(UserError, match=r"has 6 finished runs .* other settings .* independent, seed=0"):
            page(study=study)
    (tmp_path / "out" / "study.yaml").write_text("")  # the folder of a study
    with pytest.raises(UserError, match="has 6 finished runs"):
        page(write_run(tmp_path / "elsewhere", "mcl", 0, [50.0, 50.0]))
    assert (tmp_path / "out" / "RESULTS.md").read_text() == old_report


def test_torch_is_not_needed(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "lmcl", 0, [70.0, 70.0], matching=True)
    code = "import sys, mcl.__main__ as m; m.main(['report', 'runs']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "runs" / "RESULTS.md").is_file()


@pytest.mark.parametrize("factor", ["images", "network", "seed"])
def test_a_factor_that_is_called_like_a_column_keeps_its_labels(factor: str, tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    study = study_of(runs, [0, 1, 2])
    planned = [replace(run, labels={factor: run.labels["loss"]}) for run in study.runs]
    page(study=replace(study, factors={factor: ["independent", "lmcl"]}, baseline={factor: "lmcl"}, runs=planned))
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        reader = csv.DictReader(file)
        labels = {(line[f"{factor}_label"], line["seed"], line["network"], line["images"]) for line in reader}
    assert labels == {(loss, str(seed), "resnet8", "2000") for loss in ("independent", "lmcl") for seed in range(3)}
