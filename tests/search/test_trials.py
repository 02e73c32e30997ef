"""Trials outlive the process: what a later one continues, repeats and counts."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest

from mcl.errors import UserError
from mcl.search.space import parse_space
from mcl.search.trial_reports import PRUNED_AFTER
from mcl.search.trials import RETRY_OF, Trials

TPE = {"_target_": "optuna.samplers.TPESampler", "seed": 0, "n_startup_trials": 2}
SPACE = parse_space(["loss=mcl", "optimizer.lr=interval(0.0,1.0)"], {})
Start = Callable[..., Trials]


@pytest.fixture
def start() -> Start:
    """``start(n_trials=3)``: the trials of a process that starts or continues the one search of this test."""
    storage = optuna.storages.InMemoryStorage()

    def make(**options: Any) -> Trials:
        study = optuna.create_study(study_name="s", storage=storage, direction="maximize", load_if_exists=True)
        return Trials(study, SPACE, TPE, **{"n_trials": 4, "n_jobs": 1, "max_failure_rate": 1.0, **options})

    return make


def states(trials: Trials) -> list[str]:
    return [trial.state.name for trial in trials.study.get_trials()]


def run(trials: Trials, reached: Callable[[int], float] = float) -> list[list[str]]:
    """Run what is left, and return the overrides of each job."""
    jobs = []
    while (proposal := trials.next()) is not None:
        jobs.append(proposal.overrides)
        trials.completed(proposal.number, reached(proposal.number))
    return jobs


def test_proposals_do_not_depend_on_interruptions(start: Start) -> None:
    whole = run(Trials(optuna.create_study(direction="maximize"), SPACE, TPE, n_trials=6, n_jobs=1, max_failure_rate=1))
    parts = [job for n_trials in (2, 3, 6) for job in run(start(n_trials=n_trials))]
    assert parts == whole
    assert len({job[-1] for job in whole}) == 6
    assert all(job[0] == "loss=mcl" for job in whole)


def test_trial_that_a_killed_process_left_is_continued_before_new_ones(start: Start) -> None:
    killed = start()
    first = killed.next()
    assert first is not None
    continued = start()
    assert continued.next() == first
    continued.completed(first.number, 50.0)
    assert len(run(continued)) == 3
    assert states(continued) == ["COMPLETE"] * 4


def test_trial_that_was_pruned_while_the_parent_was_dead_is_not_run(start: Start) -> None:
    first = start().next()
    assert first is not None
    trials = start()
    trials.study._storage.set_trial_user_attr(trials.study.trials[0]._trial_id, PRUNED_AFTER, 2)
    trials = start()
    assert states(trials) == ["PRUNED"]
    assert len(run(trials)) == 3


def test_trial_that_was_killed_while_it_was_proposed_starts_anew(start: Start) -> None:
    trials = start()
    trials.study.ask()  # without its values
    trials = start()
    assert len(run(trials)) == 4
    assert states(trials)[0] == "FAIL"


def test_failed_trial_runs_once_more_in_the_next_process_and_counts_once(start: Start) -> None:
    trials = start(n_trials=2)
    failing = trials.next()
    assert failing is not None
    trials.failed(failing.number, UserError("the disk is full"))
    assert len(run(trials)) == 1
    again = start(n_trials=2)
    assert run(again) == [failing.overrides]
    assert again.study.trials[-1].user_attrs == {RETRY_OF: 0}
    assert run(start(n_trials=2)) == []


@pytest.mark.parametrize(("rate", "ended"), [(0.0, 1), (0.5, 3), (1.0, 4)])
def test_search_stops_when_too_many_trials_fail(rate: float, ended: int, start: Start) -> None:
    trials = start(max_failure_rate=rate, n_jobs=2)

    def all_but_the_second_fail() -> None:
        while (proposal := trials.next()) is not None:
            if proposal.number == 1:
                trials.completed(1, 1.0)
            else:
                trials.failed(proposal.number, UserError("diverged"))

    if rate == 1.0:
        all_but_the_second_fail()
    else:
        with pytest.raises(UserError, match="diverged"):
            all_but_the_second_fail()
    assert len(states(trials)) == ended


def test_search_with_trials_that_always_fail_can_be_continued(start: Start) -> None:
    """Two of six trials fail, and again when a larger search retries them first: still two of all trials."""
    options: dict[str, Any] = {"max_failure_rate": 0.4, "n_jobs": 2}

    def run_some(trials: Trials) -> None:
        while (proposal := trials.next()) is not None:
            number = trials.study.trials[proposal.number].user_attrs.get(RETRY_OF, proposal.number)
            if number in (2, 4):
                trials.failed(proposal.number, UserError("diverged"))
            else:
                trials.completed(proposal.number, 50.0)
        trials.check_end()

    run_some(start(n_trials=6, **options))
    larger = start(n_trials=8, **options)
    run_some(larger)
    assert [trial.state.name for trial in larger.begun()].count("COMPLETE") == 6


def test_no_more_trials_than_jobs_are_open(start: Start) -> None:
    trials = start(n_jobs=2)
    open_trials = [trials.next(), trials.next()]
    assert None not in open_trials
    assert trials.next() is None
    trials.completed(0, 1.0)
    assert trials.next() is not None


def test_job_without_objective_is_pruned_or_failed(start: Start) -> None:
    trials = start(n_jobs=2)
    assert trials.next() is not None
    assert trials.next() is not None
    trials.study._storage.set_trial_user_attr(trials.study.trials[0]._trial_id, PRUNED_AFTER, 3)
    trials.completed(0, None)
    trials.completed(1, None)
    assert states(trials) == ["PRUNED", "FAIL"]


def test_stopped_trial_waits_for_the_same_command(start: Start) -> None:
    trials = start(n_trials=1)
    proposal = trials.next()
    assert proposal is not None
    trials.left_running(proposal.number)
    with pytest.raises(UserError, match="type the same command again"):
        trials.check_end()
    assert start(n_trials=1).next() == proposal


def test_grid_tries_every_combination_once() -> None:
    grid = {"_target_": "optuna.samplers.GridSampler", "seed": 0}
    space = parse_space(["a=1,2", "b=x,y"], {})
    study = optuna.create_study(direction="maximize")
    trials = Trials(study, space, grid, n_trials=4, n_jobs=1, max_failure_rate=0)
    assert {tuple(job) for job in run(trials)} == {(f"a={a}", f"b={b}") for a in "12" for b in "xy"}
