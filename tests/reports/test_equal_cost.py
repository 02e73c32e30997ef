"""Cost and accuracy of a run at a step."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.run_folders import write_run

from mcl.reports.equal_cost import at_cost, by_name, training_cost
from mcl.runs.reading import read_run


def test_meta_rounds_are_counted_where_they_happen(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, "lmcl", 0, [70.0, 70.0]))
    # a step 50 * 2000 = 0.1 M, a round 50 * 8000 = 0.4 M, at steps 0, 20, ...: after 10 steps one, after 21 two
    assert training_cost(run, 0) == 0
    assert training_cost(run, 10) == pytest.approx(1.0e6 + 0.4e6)
    assert training_cost(run, 20) == pytest.approx(2.0e6 + 0.4e6)
    assert training_cost(run, 21) == pytest.approx(2.1e6 + 0.8e6)
    assert training_cost(run, 40) == training_cost(run) == 4.8e6


def test_last_evaluation_within_a_budget_is_read(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, "independent", 0, [80.0, 60.0]))  # epochs end at 0.5 M, 1 M, 1.5 M, 2 M
    for budget, epoch in [(1.0e6, 2), (1.4e6, 2), (9e9, 4)]:
        evaluation = at_cost(run, budget)
        assert evaluation is not None
        assert evaluation.epoch == epoch
    assert at_cost(run, 0.4e6) is None


def test_mean_of_networks_of_one_name_needs_all_of_them(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, "independent", 0, [80.0, 60.0]))
    whole = run.evaluations[-1]
    assert by_name(run, whole) == {"resnet8": pytest.approx(70.0)}
    assert by_name(run, replace(whole, top1={"first": 80.0})) == {}


def test_run_without_recorded_cost_has_none(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, "independent", 0, [80.0, 60.0], without=["multiply_adds"]))
    assert training_cost(run) is None
    assert at_cost(run, 9e9) is None
