"""The report of a search: trade-offs, which option matters, and trials that were pruned."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from support.run_folders import write_run

from mcl.reports.search_importance import importance_picture, importances
from mcl.reports.search_report import search_page
from mcl.reports.trade_offs import pareto_front
from mcl.runs.reading import read_run
from mcl.search.space import parse_space
from mcl.studies.study import load_study

PAGE = """
title: Tiny search
hold:
  - dataset=synthetic
  - dataset.image_size=8
  - dataset.validation=0.2
  - trainer.epochs=4
  - trainer.device=cpu
  - loss=independent
  - tracking=none
search:
"""
Command = Callable[..., Any]


def write_study(search: str, *hold: str) -> None:
    lines = "".join(f"  - {each}\n" for each in hold)
    Path("mine").mkdir(exist_ok=True)
    Path("mine/study.yaml").write_text(PAGE.replace("search:\n", f"{lines}search:\n") + search)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """``sweep()``: run ``python sweep.py study=mine``, one run after another, and return RESULTS.md and results.csv."""
    import inspect

    import train
    from mcl.commands.sweep import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run_sweep() -> tuple[str, str]:
        status = main(inspect.unwrap(train.train), ["study=mine", "hydra/launcher=basic"])
        assert status == 0, capfd.readouterr().err
        return Path("mine/RESULTS.md").read_text(), Path("mine/results.csv").read_text()

    return run_sweep


def test_front_has_every_trial_that_none_beats() -> None:
    scores = [(70.0, 5.0), (72.0, 9.0), (69.0, 6.0), (72.0, 9.0), (71.0, 9.0)]
    assert pareto_front(scores, ["maximize", "minimize"]) == [0, 1, 3]


def test_option_that_decides_has_the_greatest_share() -> None:
    draw = random.Random(0)
    space = parse_space(["a=interval(0.0,1.0)", "b=interval(0.0,1.0)", "c=x,y"], {})
    trials = [{"a": draw.random(), "b": draw.random(), "c": draw.choice("xy")} for _ in range(60)]
    shares = importances(space, [(values, 50 + 40 * values["a"] + draw.random()) for values in trials])
    assert next(iter(shares)) == "a"
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["a"] > 0.8
    assert importance_picture(shares, ["svg"])["svg"].startswith(b"<?xml")


def test_few_trials_or_equal_ones_say_nothing_about_importance() -> None:
    space = parse_space(["a=interval(0.0,1.0)", "b=interval(0.0,1.0)"], {})
    trials = [({"a": i / 60, "b": 0.5}, float(i)) for i in range(60)]
    assert importances(space, trials)
    assert importances(space, trials[:49]) == {}
    assert importances(space, [(values, 1.0) for values, _ in trials]) == {}
    assert importances(parse_space(["a=interval(0.0,1.0)"], {}), trials) == {}


def test_page_of_two_objectives_has_the_trade_offs(sweep: Command) -> None:
    objective = "'objective=[validation/top1_last,multiply_adds]'"
    write_study("  {options: {network@pair.first: 'resnet8,resnet14'}, trials: 4, sampler: grid}\n", objective)
    page, table = sweep()
    assert "2 finished trials." in page
    assert "## The best trade-offs" in page
    assert "| network@pair.first | validation top-1 | multiply adds |" in page
    assert table.splitlines()[0].endswith("steps,validation_top1_last,multiply_adds")
    assert len(table.splitlines()) == 3
    assert "trainer.test" not in page


def test_page_lists_pruned_trials_apart(sweep: Command) -> None:
    options = "optimizer.lr: 'tag(log,interval(0.00001,0.1))'"
    write_study(f"  {{options: {{{options}}}, trials: 6, pruner: asha, sampler: random}}\n")
    page, table = sweep()
    statuses = [line.split(",")[2] for line in table.splitlines()[1:]]
    pruned = statuses.count("pruned")
    assert len(statuses) == 6
    assert pruned > 0
    assert f"{6 - pruned} finished trial" in page
    assert f"{pruned} pruned." in page
    assert page.count(" of 4 epochs evaluated.") == pruned
    assert "## Trials that do not count" not in page


def test_study_refuses_a_pruner_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_study("  {options: {optimizer.lr: 'interval(0.01,0.1)'}, pruner: asa}\n")
    from mcl.errors import UserError

    with pytest.raises(UserError, match=r"search.pruner=asa.*Did you mean 'asha'"):
        load_study(Path("mine"))


def test_reason_of_a_failed_trial_stays_on_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_study("  options: {optimizer.lr: 'interval(0.01, 1.0)'}\n")
    folder = write_run(tmp_path / "runs", "independent", 0, [70.0, 70.0], finished=False)
    failure = {"status": "failed", "error": "ValueError", "message": "first\n# second <b>", "step": 3}
    (folder / "failure.json").write_text(json.dumps(failure))
    lines, _ = search_page(load_study(Path("mine")), [(read_run(folder), {"optimizer.lr": 0.1})], "command")
    (line,) = (line for line in lines if "ValueError" in line)
    assert "failed. ValueError: first # second &lt;b> (step 3" in line
