"""Learning rates over the epochs."""

import math

import pytest
from support.small_runs import SMALL

from mcl.config.compose import compose_train
from mcl.errors import UserError
from mcl.training.schedules import Constant, Cosine, MultiStep, schedule_notes
from mcl.training.setup import assemble


def test_cosine_is_the_published_formula() -> None:
    factors = [Cosine()(epoch, 300) for epoch in range(300)]
    assert factors == [(1 + math.cos(math.pi * e / 300)) / 2 for e in range(300)]
    assert factors[0] == 1


def test_warmup_grows_to_one() -> None:
    schedule = Cosine(warmup_epochs=3)
    assert [schedule(epoch, 10) for epoch in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert schedule(9, 10) < 0.1


def test_multistep_multiplies_at_each_milestone() -> None:
    schedule = MultiStep(milestones=[60, 30], gamma=0.1)
    assert [schedule(e, 100) for e in (29, 30, 59, 60)] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_constant_stays() -> None:
    assert {Constant()(epoch, 10) for epoch in range(10)} == {1.0}


def test_every_schedule_can_warm_up() -> None:
    constant, steps = Constant(warmup_epochs=1), MultiStep(milestones=[2], warmup_epochs=1)
    assert [constant(epoch, 4) for epoch in range(4)] == [0.5, 1.0, 1.0, 1.0]
    assert [steps(epoch, 4) for epoch in range(4)] == pytest.approx([0.5, 1.0, 0.1, 0.1])


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(UserError, match="milestones"):
        MultiStep(milestones=[0])
    for gamma in (0, -1):
        with pytest.raises(UserError, match=rf"schedule\.gamma={gamma}: must be greater than 0"):
            MultiStep(milestones=[1], gamma=gamma)
    with pytest.raises(UserError, match="warmup_epochs"):
        Cosine(warmup_epochs=-1)


@pytest.mark.parametrize(
    "schedule", [Cosine(warmup_epochs=3), Constant(warmup_epochs=3), MultiStep(milestones=[], warmup_epochs=3)]
)
def test_warm_up_longer_than_the_run_is_noted(schedule: Cosine | MultiStep | Constant) -> None:
    (note,) = schedule_notes(schedule, 3)
    assert note.startswith("schedule.warmup_epochs=3: the warm-up does not end, as the run has 3 epochs; ")
    assert "the learning rate gets to 75 % of optimizer.lr" in note
    assert schedule_notes(schedule, 4) == []
    assert schedule(3, 4) == 1


def test_milestones_after_the_end_are_noted() -> None:
    (note,) = schedule_notes(MultiStep(milestones=[9, 19, 25]), 19)
    assert note.startswith("schedule.milestones=[9, 19, 25]: the run has 19 epochs, so the learning rate does not fall")
    assert "at 19, 25. Lower" in note
    assert schedule_notes(MultiStep(milestones=[9, 19, 25]), 26) == []


def test_a_run_notes_that_its_warm_up_does_not_end() -> None:
    parts = assemble(compose_train([*SMALL, "schedule.warmup_epochs=500"]))
    assert any(note.startswith("schedule.warmup_epochs=500: ") for note in parts.notes)
