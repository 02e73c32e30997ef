"""A training whose parts are called one by one trains as the loop does."""

import pytest
import torch
from support.recorded_calls import RecordedCalls
from support.small_runs import SMALL

from mcl.benchmarking import StepwiseTraining
from mcl.benchmarking.settings import LEAST, WARM_UP
from mcl.benchmarking.steps import run_steps
from mcl.config.compose import compose_train
from mcl.training import build_trainer
from mcl.training.setup import assemble
from mcl.training.trainer import Trainer


def small_trainer() -> Trainer:
    parts = assemble(compose_train([*SMALL, "trainer.epochs=9", "schedule=constant"]))
    return parts.build_trainer(parts.dataset.load(), seed=0)


def test_stretches_of_the_loop_follow_each_other_and_wait_at_their_ends() -> None:
    trainer, waits = small_trainer(), []
    training = StepwiseTraining(trainer)
    epoch = len(trainer.loader)
    assert training.run_loop(epoch, lambda: waits.append(trainer.progress.step)) > 0
    assert waits == [1, epoch + 1]  # across the end of an epoch, without an evaluation
    assert training.run_loop(1, lambda: waits.append(trainer.progress.step)) > 0
    assert waits[2:] == [epoch + 2, epoch + 3]


def test_steps_and_the_loop_take_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps called one by one, stretches of the loop, and both replayed arrive at the same weights."""
    weights = []
    recorder = RecordedCalls()
    for recorded in (None, recorder):
        monkeypatch.setattr(build_trainer, "graph_recorder", lambda *_, recorded=recorded: recorded)
        for by_loop in (False, True):
            trainer = small_trainer()
            training = StepwiseTraining(trainer)
            assert training.captured is (recorded is not None)
            if by_loop:
                training.run_loop(5, lambda: None)
            else:
                for _ in range(6):
                    training.step(next(training.batches))
            weights.append(torch.cat([each.detach().flatten() for each in trainer.learner.trained_parameters()]))
    assert recorder.replays > 0
    assert all(torch.equal(other, weights[0]) for other in weights[1:])


def test_graphs_are_recorded_before_steps_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, recordings = RecordedCalls(), list[int]()
    monkeypatch.setattr(build_trainer, "graph_recorder", lambda *_: recorder)
    trainer = small_trainer()
    steps = run_steps(
        trainer, 20, warm_up=WARM_UP, least=LEAST, budget=0.0, after_step=lambda: recordings.append(recorder.recorded)
    )
    assert len(steps.seconds) == LEAST
    assert recordings[WARM_UP - 1] == recordings[-1] == 2
