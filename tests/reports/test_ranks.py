"""Ranks of rows: intervals that the tests leave open, and which differences are shown."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.report_pages import cells, study_of
from support.run_folders import write_run

from mcl.reports.markdown import NONE
from mcl.reports.ranks import ranks
from mcl.reports.rows import Row, Rows, rows_of_study, run_values
from mcl.runs.summary import deployed_networks
from mcl.studies.planned_run import PlannedRun
from mcl.studies.study import Study

# The first two differ by the same as their spread; the third is far below, the fourth has not run.
VALUES = {"a": [70.0, 71.0, 72.0, 71.0], "b": [70.5, 70.4, 72.6, 70.6], "c": [60.0, 61.1, 62.0, 61.1], "d": None}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    planned = []
    for number, (loss, values) in enumerate(VALUES.items()):
        for seed in range(4):
            top1 = 0.0 if values is None else values[seed]
            folder = write_run(
                *(tmp_path, "independent", seed, [top1, top1]),
                settings={"optimizer__lr": 0.1 + number / 100},
                finished=values is not None,
                folder=tmp_path / loss / str(seed),
            )
            planned.append(PlannedRun({"loss": loss}, seed, [f"loss={loss}"], folder))
    return replace(study_of(tmp_path, []), factors={"loss": list(VALUES)}, baseline={}, runs=planned, ranks=True)


def test_interval_counts_the_rows_shown_to_be_better_and_worse(study: Study) -> None:
    rows = rows_of_study(study)
    found, tests = ranks(rows.rows, "top1_last", planned=False)
    assert tests == 3
    places = {one.row.labels["loss"]: (one.rank, one.first, one.last) for one in found}
    assert places == {"b": (1, 1, 2), "a": (2, 1, 2), "c": (3, 3, 3)}
    better = {one.row.labels["loss"]: [other.labels["loss"] for other in one.better_than] for one in found}
    assert better == {"a": ["c"], "b": ["c"], "c": []}


def test_equal_means_share_a_rank_and_no_test_leaves_all_ranks_open(tmp_path: Path) -> None:
    rows = []
    for loss in ("a", "b"):
        folder = write_run(tmp_path, "independent", 0, [50.0, 50.0], folder=tmp_path / loss / "0")
        rows.append(PlannedRun({"loss": loss}, 0, [], folder))
    study = replace(study_of(tmp_path, []), factors={"loss": ["a", "b"]}, baseline={}, runs=rows, ranks=True)
    for planned in (False, True):
        found, tests = ranks(rows_of_study(study).rows, "top1_last", planned=planned)
        assert tests == planned
    assert [(one.rank, one.first, one.last) for one in found] == [(1, 1, 2), (1, 1, 2)]


def test_report_has_ranks_if_the_study_asks_for_them(study: Study, page) -> None:
    text = page(study=study)
    assert "## Ranks" in text
    assert cells(text, "Ranks", "b")[1:] == ["1", "1 to 2", "c"]
    assert cells(text, "Ranks", "a")[1:] == ["2", "1 to 2", "c"]
    assert cells(text, "Ranks", "c") == ["61.05", "3", "3", NONE]
    assert "## Ranks" not in page(study=replace(study, ranks=False))


def test_networks_that_are_not_deployed_do_not_count() -> None:
    networks = [
        {"key": "first", "name": "resnet8", "top1_last": 10.0},
        {"key": "second", "name": "resnet8", "top1_last": 90.0},
    ]
    assert run_values({"networks": networks}, "top1_last") == {"resnet8": 50.0}
    assert run_values({"networks": networks, "deployed": ["second"]}, "top1_last") == {"resnet8": 90.0}
    assert (
        deployed_networks({"networks": networks, "deployed": "second"}) == networks
    )  # not a list: of no program of ours


def test_rows_without_results_have_no_ranks() -> None:
    assert ranks([Row({"loss": "a"}, [])], "top1_last", planned=True) == ([], 0)
    assert Rows({}, [], {}, set()).ranked is False
