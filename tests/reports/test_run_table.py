"""``mcl.reports.read_runs``: the runs of a report as a typed table."""

import errno
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support.report_pages import study_of, three_seeds
from support.run_folders import write_run

from mcl.data.listing import images_below
from mcl.errors import UserError
from mcl.reports import pack_runs, read_runs, results_table
from mcl.reports.rows import rows_of_folders
from mcl.runs.archived import ARCHIVE
from mcl.runs.reading import find_runs, read_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return three_seeds(tmp_path / "runs")


@pytest.fixture
def study(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study whose runs are those of `runs`, and seed 3, which was not run."""
    monkeypatch.setattr(results_table, "load_study", lambda *_: study_of(runs, [0, 1, 2, 3]))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "study.yaml").touch()
    return tmp_path / "two"


def test_runs_come_in_the_order_of_a_report(runs: Path) -> None:
    table = read_runs(runs)
    assert [(run.labels["loss"], run.seed, run.top1_last) for run in table] == [
        *(("independent", 0, 70), ("independent", 1, 71), ("independent", 2, 72)),
        *(("lmcl", 0, 72), ("lmcl", 1, 74), ("lmcl", 2, 73)),
    ]
    assert len(table.finished) == 6
    assert "Rows are runs that differ in nothing but their seed." in table.notes


def test_a_run_has_settings_and_results_of_each_network(runs: Path) -> None:
    run = read_runs(runs)[0]
    assert run.settings["optimizer.lr"] == 0.1
    assert run.settings["pair.first.name"] == "resnet8"
    assert [(network.key, network.name, network.top1_last) for network in run.networks] == [
        *(("first", "resnet8", 69), ("second", "resnet8", 71))
    ]
    assert run.networks[0].top1_best == 70
    assert run.networks[0].validation_top1_last is None
    assert run.networks[0].values["multiply_adds"] == 500
    assert run.ensemble_top1_last == 74
    assert run.summary["images"] == 2000


def test_a_teacher_is_no_part_of_the_accuracy_of_a_run(tmp_path: Path) -> None:
    write_run(tmp_path, "mcl", 0, [70, 90], networks=("resnet8", "resnet20"), summary={"deployed": ["first"]})
    (run,) = read_runs(tmp_path)
    assert [network.top1_last for network in run.networks] == [70, 90]
    assert run.top1_last == 70


def test_curves_have_every_finite_value_and_are_read_when_asked_for(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "lmcl", 0, [80, None], matching=True)
    (run,) = read_runs(tmp_path)
    metrics = folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + json.dumps({"step": 50, "epoch": 5, "time": 5.0, "late": 1.5}) + "\n")
    assert run.curves["test/first/backbone/top1"] == ([10, 20, 30, 40], [1, 2, 3, 4], [20.0, 40.0, 60.0, 80.0])
    assert run.curves["matching/first.stage1/second.stage1"].epochs == [1, 2, 3, 4]
    assert run.curves["late"].values == [1.5]  # written after the table was read
    assert not {"test/second/backbone/top1", "step", "epoch", "time"} & run.curves.keys()
    assert run.top1_last is None  # of its second network


def test_altered_metrics_give_no_curve_and_a_note(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "lmcl", 0, [80, 80])
    (folder / "metrics.jsonl").write_text("".join((folder / "metrics.jsonl").open().readlines()[:-3]))
    (run,) = read_runs(tmp_path)
    assert run.curves == {}
    assert "metrics.jsonl lacks evaluations" in run.notes[0]
    assert run.top1_last == 80


def test_an_unfinished_run_has_curves_and_no_results(tmp_path: Path) -> None:
    write_run(tmp_path, "lmcl", 0, [80, 80], finished=False)
    table = read_runs(tmp_path)
    assert table[0].status == "unfinished"
    assert "killed" in table[0].reason
    assert table[0].networks == ()
    assert len(table[0].curves["test/first/backbone/top1"].values) == 4
    assert list(table.finished) == []


def test_a_study_has_its_missing_runs(study: Path) -> None:
    table = read_runs(study)
    assert [(run.seed, run.status) for run in table if run.labels == {"loss": "lmcl"}] == [
        *((0, "finished"), (1, "finished"), (2, "finished"), (3, "missing"))
    ]
    assert table[3].settings == {}


def test_an_archive_stands_for_runs_that_are_not_here(study: Path, runs: Path) -> None:
    (study / ARCHIVE).write_bytes(pack_runs(map(read_run, find_runs(runs))))
    here = read_runs(study)
    curves = here[0].curves
    runs.rename(runs.parent / "elsewhere")
    archived = read_runs(study).finished
    assert [(run.labels, run.seed, run.summary) for run in archived] == [
        (run.labels, run.seed, run.summary) for run in here.finished
    ]
    assert archived[0].curves == curves
    with pytest.raises(FileNotFoundError):
        _ = here[1].curves  # no empty answer for a run that was moved
    assert archived[0].folder.absolute().is_relative_to(study / "runs")
    alone = read_runs(study / ARCHIVE)
    assert [run.labels["pair"] for run in alone] == ["resnet8"] * 6
    assert alone[5].curves == archived[5].curves


def test_files_of_an_archive_exist_as_long_as_one_of_its_runs(study: Path, runs: Path) -> None:
    (study / ARCHIVE).write_bytes(pack_runs(map(read_run, find_runs(runs))))
    run = read_runs(study / ARCHIVE)[4]
    gc.collect()
    unpacked = run._run.folder
    assert run.curves
    del run
    gc.collect()
    assert not unpacked.exists()


def test_places_without_runs_are_refused(study: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no run"):
        read_runs("empty")
    with pytest.raises(UserError, match="there is no such folder"):
        read_runs("nowhere")
    with pytest.raises(UserError, match="only a study's folder has its runs elsewhere"):
        read_runs("empty", runs="runs")
    (tmp_path / "damaged.tar.xz").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"damaged\.tar\.xz cannot be unpacked"):
        read_runs("damaged.tar.xz")


def test_pandas_has_the_columns_of_results_csv_and_what_differs(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    write_run(tmp_path, "mcl", 0, [80, 82], settings={"optimizer__lr": 0.2, "dataset__limit": 20})
    write_run(tmp_path, "mcl", 1, [81, 83], settings={"optimizer__lr": 0.2, "dataset__limit": 20})
    write_run(tmp_path, "mcl", 0, [70, 72])
    write_run(tmp_path, "mcl", 1, [70, 72], finished=False)
    frame = read_runs(tmp_path).to_pandas()
    assert len(frame) == 7
    assert frame.groupby("dataset.limit").top1_last.mean().to_dict() == {"10": 71.0, "20": 81.5}
    assert set(frame["optimizer.lr"]) == {0.1, 0.2}
    assert frame.status.value_counts().to_dict() == {"finished": 6, "unfinished": 1}
    assert frame.key.dropna().tolist() == ["first", "second"] * 3
    assert "seed" in frame
    assert "trainer.epochs" not in frame


def test_missing_pandas_is_one_clear_error(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcl.extras.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"to_pandas\(\): needs pandas. Install it with: pip install 'pandas>=2'"):
        read_runs(runs).to_pandas()


def test_seeds_of_runs_that_also_draw_their_images_share_a_row(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_run(tmp_path, "lmcl", seed, [70, 70], settings={"dataset__seed": seed})
        write_run(tmp_path, "mcl", seed, [70, 70], settings={"dataset__seed": 1})
    rows = rows_of_folders(find_runs(tmp_path)).rows
    assert [[run.seed for run in row.runs] for row in rows] == [[0, 1, 2], [0, 1, 2]]
    write_run(tmp_path, "lmcl", 3, [70, 70], settings={"dataset__seed": 0})
    assert sorted(len(row.runs) for row in rows_of_folders(find_runs(tmp_path)).rows) == [1, 1, 2, 3]


def test_runs_behind_links_count_once(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / "scratch", "lmcl", seed, [70, 70])
    runs = tmp_path / "runs"
    write_run(runs, "mcl", 0, [70, 70])
    expected = {*find_runs(runs)}
    (runs / "a_link").symlink_to(tmp_path / "scratch")
    linked = {runs / "a_link" / run.relative_to(tmp_path / "scratch") for run in find_runs(tmp_path / "scratch")}
    assert len(linked) == 2
    assert set(find_runs(runs)) == expected | linked
    (runs / "b_link").symlink_to(tmp_path / "scratch")
    (tmp_path / "scratch" / "loop").symlink_to(runs)
    assert set(find_runs(runs)) == expected | linked


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, "mcl", 0, [70, 70])
    scandir = os.scandir

    def refusing(folder: Any) -> Any:
        if Path(folder).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    (tmp_path / "locked").mkdir()
    monkeypatch.setattr("os.scandir", refusing)
    with pytest.raises(UserError, match=r"locked: this folder cannot be read \(Permission denied\)"):
        find_runs(tmp_path)
    with pytest.raises(UserError, match=r"locked: this folder cannot be read .*its images would be left out"):
        images_below(tmp_path, tmp_path)
