"""Runs on different images: separated by their fingerprints, never averaged or paired."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.report_pages import cells, study_of, three_seeds
from support.run_folders import write_run

from mcl.reports import search_report as trials
from mcl.reports.page.run_tables import settings_table
from mcl.reports.rows import Rows, rows_of_folders
from mcl.runs.reading import find_runs, read_run

Page = Callable[..., str]
ONE, OTHER = "0123456789abcdef", "fedcba9876543210"
UNSURE = "Whether all runs saw the same images is not known"


def write(runs: Path, loss: str, seed: int, top1: float, data: str | None, **options: int) -> None:
    """Write a run on the images of a fingerprint, in a folder of its own; the settings equal those of others."""
    summary = {} if data is None else {"data": data}
    settings = {f"dataset__{name}": value for name, value in options.items()}
    write_run(runs / str(data).replace(":", "-"), loss, seed, [top1, top1], summary=summary, settings=settings)


def rows_in(runs: Path) -> Rows:
    return rows_of_folders(find_runs(runs))


def test_runs_on_different_images_are_separate_rows(tmp_path: Path, page: Page) -> None:
    for seed in range(3):
        write(tmp_path / "runs", "independent", seed, 70.0 + seed, ONE)
    write(tmp_path / "runs", "independent", 0, 40.0, OTHER)  # a seed that the others have
    write(tmp_path / "runs", "independent", 3, 42.0, OTHER)  # and one that they lack
    text = page(tmp_path / "runs")
    assert cells(text, "Accuracy", f"images={ONE}")[1::3] == ["71.00", "3"]
    assert cells(text, "Accuracy", f"images={OTHER}")[1::3] == ["41.00", "2"]
    assert "Runs whose settings are the same saw different images" in text
    assert "Runs that do not count" not in text


def test_rows_of_different_images_are_not_paired(tmp_path: Path, page: Page) -> None:
    for seed in range(3):
        write(tmp_path / "runs", "independent", seed, 70.0 + seed, ONE)
        write(tmp_path / "runs", "mcl", seed, 72.0, ONE)
        write(tmp_path / "runs", "lmcl", seed, 40.0, OTHER)
    text = page(tmp_path / "runs")
    assert cells(text, "Differences from the baseline", "mcl", f"images={ONE}")[1] == "+1.00"
    assert f"- lmcl, images={OTHER}: not compared, because no row has loss=independent and is otherwise equal." in text


def test_images_are_among_the_settings_that_differ(tmp_path: Path) -> None:
    for data in (ONE, OTHER):
        write(tmp_path, "mcl", 0, 70.0, data)
    assert f"| images | {ONE} | {OTHER} |" in settings_table(rows_in(tmp_path))


def test_datasets_with_other_settings_may_have_other_images(tmp_path: Path, page: Page) -> None:
    for seed in range(2):
        write(tmp_path / "runs", "mcl", seed, 70.0, ONE, limit=10)
        write(tmp_path / "runs", "mcl", seed, 75.0 + seed, OTHER, limit=20)
    text = page(tmp_path / "runs", baseline="dataset.limit=10")
    assert "[!WARNING]" not in text
    assert cells(text, "Differences from the baseline", "dataset.limit=20")[1] == "+5.50"
    assert "- dataset.limit=20: its runs saw other images than those of its baseline." in text


@pytest.mark.parametrize(("one", "other"), [(ONE, f"v2:{OTHER}"), (ONE, None), (None, f"v2:{ONE}")])
def test_fingerprints_that_cannot_be_compared_are_a_warning(
    one: str | None, other: str | None, tmp_path: Path, page: Page
) -> None:
    write(tmp_path / "runs", "mcl", 0, 70.0, one)
    write(tmp_path / "runs", "mcl", 1, 72.0, other)
    text = page(tmp_path / "runs")
    assert cells(text, "Accuracy", "mcl")[1::3] == ["71.00", "2"]
    assert UNSURE in text


@pytest.mark.parametrize("data", [None, ONE, f"v2:{ONE}"])
def test_equal_or_missing_fingerprints_give_no_warning(data: str | None, tmp_path: Path, page: Page) -> None:
    for seed in range(2):
        write(tmp_path / "runs", "mcl", seed, 70.0, data)
    assert "[!WARNING]" not in page(tmp_path / "runs")


def test_run_of_a_study_on_other_images_than_most_does_not_count(tmp_path: Path, page: Page) -> None:
    runs = tmp_path / "runs"
    for seed in range(3):
        write_run(runs, "independent", seed, [70.0 + seed] * 2, summary={"data": ONE})
        write_run(runs, "lmcl", seed, [72.0] * 2, summary={"data": OTHER if seed == 2 else ONE})
    text = page(study=study_of(runs, [0, 1, 2]))
    assert cells(text, "Accuracy", "lmcl")[1::3] == ["72.00", "2 of 3"]
    assert cells(text, "Differences from the baseline", "lmcl")[1:4:2] == ["+1.50", "2"]
    assert "5 finished runs in 2 rows; also 1 of other images" in text
    assert f"- lmcl, seed 2: of other images. the fingerprint of its images is {OTHER}; that of 5 other runs" in text
    assert "\npython train.py loss=lmcl seed=2 resume=never\n" in text


def test_study_may_have_a_factor_called_images(tmp_path: Path, page: Page) -> None:
    study = study_of(three_seeds(tmp_path / "runs"), [0, 1, 2])
    runs = [replace(run, labels={"images": run.labels["loss"]}) for run in study.runs]
    study = replace(study, factors={"images": ["independent", "lmcl"]}, baseline={"images": "independent"}, runs=runs)
    assert "[!WARNING]" not in page(study=study)


def test_folder_of_a_study_that_holds_another_run_does_not_count(tmp_path: Path, page: Page) -> None:
    runs = tmp_path / "runs"
    for seed in range(2):
        write_run(runs, "independent", seed, [70.0 + seed] * 2)
        write_run(runs, "lmcl", seed, [72.0] * 2)
    study = study_of(runs, [0, 1])
    folders = {(run.labels["loss"], run.seed): run.folder for run in study.runs}
    for name in ("config.yaml", "summary.json"):
        (folders["lmcl", 1] / name).write_bytes((folders["independent", 1] / name).read_bytes())
    text = page(study=study)
    assert cells(text, "Accuracy", "lmcl")[1::3] == ["72.00", "1 of 2"]
    assert f"of other settings. its summary.json is that of run {folders['independent', 1].name}." in text


def test_trial_of_a_search_on_other_images_than_most_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, data in enumerate([OTHER, ONE, ONE]):
        write(tmp_path, "mcl", seed, 70.0, data)
    runs = sorted(map(read_run, find_runs(tmp_path)), key=lambda run: run.seed or 0)
    monkeypatch.setattr(trials, "_trials", lambda *_: [(run, {}) for run in runs])
    all_trials = trials.find_trials(study_of(tmp_path, [0]))
    assert [run.status for run, _ in all_trials] == ["of other images", "finished", "finished"]
