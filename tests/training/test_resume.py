"""A stopped and resumed run gives bitwise the same result as an uninterrupted one."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.small_runs import Outcome

from mcl.runs import checkpoints
from mcl.training.random_state import random_state, set_random_state

Small = Callable[..., Any]
DuringStep = Callable[[int, Callable[[], None]], None]


class PowerCut(BaseException):
    """Simulate a power cut: the process ends without saving."""


def power_cut() -> None:
    raise PowerCut


@pytest.mark.parametrize("step", [4, 9])  # 4 has a meta round and ends an epoch, 9 is the last
def test_run_stopped_by_sigterm_resumes_bit_for_bit(
    step: int, small: Small, undisturbed: Outcome, during_step: DuringStep
) -> None:
    during_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("run").status == 75
    assert checkpoints.load(Path("run/checkpoints/last.pt"))["step"] == step + 1
    assert not Path("run/summary.json").exists()
    again = small("run")
    assert again.status == 0, again.err
    assert Outcome("run").equals(undisturbed)


def test_killed_run_resumes_from_its_last_checkpoint(
    small: Small, undisturbed: Outcome, during_step: DuringStep
) -> None:
    during_step(3, power_cut)
    with pytest.raises(PowerCut):
        small("run", "trainer.checkpoint_every=2")
    assert checkpoints.load(Path("run/checkpoints/last.pt"))["step"] == 2
    assert small("run", "trainer.checkpoint_every=2").status == 0
    assert Outcome("run").equals(undisturbed)


def test_torn_checkpoint_falls_back_to_the_previous_one(
    small: Small, undisturbed: Outcome, during_step: DuringStep, caplog: pytest.LogCaptureFixture
) -> None:
    during_step(8, lambda: os.kill(os.getpid(), signal.SIGTERM))
    small("run", "trainer.checkpoint_every=3")
    last = Path("run/checkpoints/last.pt")
    last.write_bytes(last.read_bytes()[:-100])
    assert small("run").status == 0
    assert "last.pt is not a checkpoint, or has been cut short" in caplog.text
    assert "Resuming from step-6.pt instead" in caplog.text
    assert Outcome("run").equals(undisturbed)


def test_run_killed_during_evaluation_loses_and_repeats_no_line(
    small: Small, undisturbed: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcl.training.results import Results

    with monkeypatch.context() as patch:
        patch.setattr(Results, "add", lambda *_: power_cut())
        with pytest.raises(PowerCut):
            small("run")
    state = checkpoints.load(Path("run/checkpoints/last.pt"))
    assert (state["step"], state["evaluated_step"]) == (5, 0)
    assert small("run").status == 0
    assert Outcome("run").equals(undisturbed)


def test_run_killed_between_evaluation_and_checkpoint_repeats_no_line(
    small: Small, undisturbed: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcl.training.trainer import Trainer

    log = Trainer._log

    def log_and_stop(trainer: Trainer, metrics: dict[str, float]) -> None:
        log(trainer, metrics)
        if "train/lr" not in metrics:
            power_cut()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_log", log_and_stop)
        with pytest.raises(PowerCut):
            small("run")
    assert "test/" in Path("run/metrics.jsonl").read_text().splitlines()[-1]
    assert small("run").status == 0
    assert Outcome("run").equals(undisturbed)


def test_evaluation_interrupted_by_signal_is_repeated_on_resume(
    small: Small, undisturbed: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mcl.training.evaluator

    evaluate = mcl.training.evaluator.evaluate

    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGUSR1)
        return evaluate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(mcl.training.evaluator, "evaluate", interrupted)
        assert small("run").status == 75
    state = checkpoints.load(Path("run/checkpoints/last.pt"))
    assert (state["step"], state["evaluated_step"]) == (5, 0)
    assert small("run").status == 0
    assert Outcome("run").equals(undisturbed)


def test_run_stopped_often_equals_uninterrupted_run(
    small: Small, undisturbed: Outcome, during_step: DuringStep
) -> None:
    for step in (0, 2, 5, 8):
        during_step(step, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert small("run").status == 130
    assert small("run").status == 0
    assert Outcome("run").equals(undisturbed)


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=deep_supervision", "optimizer=adamw"],
        ["loss.meta.outer_batch=next", "trainer.max_steps=8"],
        ["loss=mcl", "schedule=multistep", "trainer.evaluate_every=2", "trainer.precision=bfloat16"],
        [
            "loss=independent",
            "dataset.validation=0.1",
            "trainer.batch_size=5",
            "sampler=class_balanced",
            "dataset.augmentation.flip=true",
        ],
    ],
    ids=" ".join,
)
def test_runs_with_other_settings_resume_bit_for_bit(
    overrides: list[str], small: Small, during_step: DuringStep
) -> None:
    assert small("whole", *overrides).status == 0
    during_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("stopped", *overrides).status == 75
    assert small("stopped", *overrides).status == 0
    assert Outcome("stopped").equals(Outcome("whole"))


def test_forced_batch_size_change_restarts_the_unfinished_epoch(
    small: Small, during_step: DuringStep, caplog: pytest.LogCaptureFixture
) -> None:
    during_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("run").status == 75  # after 3 of the 5 steps of the second epoch
    assert small("run", "trainer.batch_size=8", "resume=force").status == 0
    assert "epoch 2 starts again: the checkpoint was saved after 3 of its 5 steps" in caplog.text
    outcome = Outcome("run")
    assert (outcome.summary["steps"], outcome.summary["epochs"], outcome.summary["images"]) == (12, 2, 32 + 21 + 32)
    evaluations = [(line["step"], line["epoch"]) for line in outcome.metrics if "test/ensemble/top1" in line]
    assert evaluations == [(5, 1), (12, 2)]


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        ("optimizer=sgd", "optimizer=adamw", "the optimizer is another one: its state starts anew"),
        ("optimizer=sgd", "optimizer.layer_decay=0.5", "trained other parameters: the state of the optimizer starts"),
        ("pair=resnet8", "pair.shared_stages=1", "trained other parameters: the state of the optimizer starts anew"),
        ("trainer.ema=null", "trainer.ema=0.5", "forced to resume with trainer.ema: None -> 0.5"),
        ("trainer.ema=0.5", "trainer.ema=null", "forced to resume with trainer.ema: 0.5 -> None"),
    ],
)
def test_forced_other_settings_resume(
    before: str, after: str, note: str, small: Small, during_step: DuringStep, caplog: pytest.LogCaptureFixture
) -> None:
    during_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("run", "loss=independent", before).status == 75
    done = small("run", "loss=independent", after, "resume=force")
    assert done.status == 0, done.err
    assert note in done.out + caplog.text
    assert Outcome("run").summary["steps"] == 10


def test_run_beyond_the_end_of_the_forced_settings_is_refused(small: Small) -> None:
    assert small("run", "loss=independent").status == 0  # 10 steps
    done = small("run", "loss=independent", "trainer.max_steps=7", "resume=force")
    assert done.status == 1
    assert "The checkpoint is of step 10, but with these settings training ends at step 7." in done.err
    assert Outcome("run").summary["steps"] == 10


@pytest.mark.parametrize(("before", "after"), [([], ["loss.meta=null"]), (["loss.meta=null"], [])])
def test_forced_start_or_end_of_meta_rounds_resumes(
    before: list[str], after: list[str], small: Small, during_step: DuringStep
) -> None:
    during_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("run", *before).status == 75
    done = small("run", *after, "resume=force")
    assert done.status == 0, done.err
    assert Outcome("run").summary["steps"] == 10


def test_forced_freeze_of_the_other_network_starts_the_optimizer_anew(small: Small, during_step: DuringStep) -> None:
    """The networks are equal, so the momentum of one would fit the other."""
    assert small("source", "loss=independent", "trainer.max_steps=1").status == 0
    during_step(9, lambda: os.kill(os.getpid(), signal.SIGTERM))
    options = ["loss=independent", "init_from=source"]
    assert small("run", *options, "pair.first.frozen=true").status == 75  # after the last step, before its evaluation
    assert Outcome("run").state["optimizers"][0]["state"]
    done = small("run", *options, "pair.second.frozen=true", "resume=force")
    assert done.status == 0, done.err
    assert not Outcome("run").state["optimizers"][0]["state"]
    assert "other networks are frozen: the state of the optimizer starts anew" in done.out


def test_checkpoint_of_an_older_version_is_resumed(small: Small, undisturbed: Outcome, during_step: DuringStep) -> None:
    during_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("run").status == 75
    last = Path("run/checkpoints/last.pt")
    state = checkpoints.load(last)
    for name in ("steps_per_epoch", "extra_steps", "batch_size", "processes", "classes"):
        del state[name]
    (state["meters"]["sums"],) = state["meters"]["sums"]
    checkpoints.save(last, state)
    assert small("run").status == 0
    assert Outcome("run").equals(undisturbed)


def test_checkpoint_minutes_triggers_checkpoints(small: Small, during_step: DuringStep) -> None:
    during_step(3, power_cut)
    with pytest.raises(PowerCut):
        small("run", "trainer.checkpoint_minutes=0")
    assert checkpoints.load(Path("run/checkpoints/last.pt"))["step"] == 3


def test_checkpoint_without_optimizer_state_suggests_init_from(small: Small, undisturbed: Outcome) -> None:
    networks = {key: value for key, value in undisturbed.state["learner"].items() if key.startswith("cohort.")}
    checkpoints.save(Path("run/checkpoints/last.pt"), {"step": 0, "learner": networks})
    refused = small("run")
    assert refused.status == 1
    assert "init_from=" in refused.err


def test_checkpoint_of_other_networks_is_refused(small: Small, undisturbed: Outcome) -> None:
    state = {**undisturbed.state, "learner": {"weight": torch.zeros(1)}}
    checkpoints.save(Path("run/checkpoints/last.pt"), state)
    refused = small("run")
    assert refused.status == 1
    assert "was trained with other networks" in refused.err


def test_global_generators_are_restored() -> None:
    cpu = torch.device("cpu")
    state = random_state(cpu)
    rng: Any = np.random.mtrand._rand
    drawn = [random.random(), float(rng.rand()), float(torch.rand(()))]
    set_random_state(state, cpu)
    assert [random.random(), float(rng.rand()), float(torch.rand(()))] == drawn
