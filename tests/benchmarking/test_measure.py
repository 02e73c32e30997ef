"""Steps are timed in the training loop itself, and a killed measurement harms nothing else."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from support.small_runs import META, SMALL

from mcl.benchmarking import measure as measuring
from mcl.benchmarking import peak_rate as peak
from mcl.benchmarking.isolated import measure_in_process
from mcl.benchmarking.measure import GROUPS, Request, measure
from mcl.benchmarking.stopwatch import Stopwatch
from mcl.config.compose import compose_train
from mcl.training.setup import assemble

DIES = """
import os, signal
from mcl.data.synthetic import Synthetic

class Dies(Synthetic):
    def load(self):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def request(*overrides: str, **options: Any) -> Request:
    config = OmegaConf.to_container(compose_train([*SMALL, *overrides]), resolve=True)
    settings = {"steps": 4, "warm_up": 2, "least": 1, "seconds": 60.0, "meta_rounds": 2, "details": True, **options}
    return Request({name: config[name] for name in GROUPS}, **settings)


@pytest.fixture(autouse=True)
def _small_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "SHAPES", ((8, 3, 8),))
    monkeypatch.setattr(peak, "LONG_ENOUGH", 0.0)


def test_all_phases_of_the_method_are_timed() -> None:
    results = measure(request(*META))
    assert set(results["phases"]) == {"data", "forward", "loss", "contrast", "backward", "optimizer", "other"}
    assert min(results["phases"].values()) > 0
    assert len(results["steps"]) == 4
    assert len(results["losses"]) == 6
    assert results["meta_round"] > 0
    assert results["memory"] > 0
    assert results["peaks"]["float32"] > 0


def test_phase_timing_uses_separate_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    with_clocks: list[bool] = []
    run_steps, timed_phases, open_clocks = measuring.run_steps, measuring.timed_phases, []

    @contextmanager
    def phases(*arguments: Any) -> Iterator[None]:
        open_clocks.append(True)
        with timed_phases(*arguments):
            yield
        open_clocks.pop()

    def steps(*arguments: Any, **options: Any) -> Any:
        with_clocks.append(bool(open_clocks))
        results = run_steps(*arguments, **options)
        if open_clocks:
            results.seconds = [1000.0] * len(results.seconds)
        return results

    monkeypatch.setattr(measuring, "timed_phases", phases)
    monkeypatch.setattr(measuring, "run_steps", steps)
    results = measure(request("loss=independent", "pair=single", steps=9))  # more than the 10 steps of training, in all
    assert with_clocks == [False, True]
    assert max(results["steps"]) < 1000
    assert sum(results["phases"].values()) > 0


def test_loss_without_contrast_and_meta_round_has_no_such_phases() -> None:
    results = measure(request("loss=independent", "pair=single"))
    assert set(results["phases"]) == {"data", "forward", "loss", "backward", "optimizer", "other"}
    assert results["meta_round"] is None
    assert results["multiply_adds"]["meta_round"] == 0


def test_steps_measured_are_those_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    measure_request = request(*META)
    parts = assemble(OmegaConf.create({**measure_request.config, "tracking": {}}))
    trainer = parts.build_trainer(parts.dataset.load(), seed=0)
    trainer.learner.train()
    batches = [*trainer.loader.epoch(0), *trainer.loader.epoch(1)]
    losses = []
    for batch, lr_epoch in zip(batches[:6], [0] * 5 + [1], strict=True):
        lr = trainer.optimizers[0].defaults["lr"] * trainer.schedule(lr_epoch, trainer.options.epochs)
        for optimizer in trainer.optimizers:
            optimizer.param_groups[0]["lr"] = lr
        losses.append(float(trainer.train_on_batch(batch)["train/total"].detach()))
        trainer.progress.step += 1
    assert measure(measure_request)["losses"] == losses


def test_time_between_the_parts_of_a_step_is_other() -> None:
    times = iter(range(100))
    watch = Stopwatch(lambda: None, lambda: float(next(times)))
    with watch.phase("other"):
        with watch.phase("forward"):
            watch.enter("loss")  # never left: it ends with the phase around it
        with watch.phase("backward"):
            pass
    assert watch.take() == {"other": 3.0, "forward": 2.0, "loss": 1.0, "backward": 1.0}


def test_killed_process_is_reported(warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dying.py").write_text(DIES)
    monkeypatch.chdir(tmp_path)
    measure_request = request("dataset._target_=dying.Dies", "allow_modules=[dying]", details=False)
    measurement = measure_in_process(measure_request)
    assert measurement.answer is None
    assert measurement.reason == f"killed by {signal.SIGKILL.name}, most likely for lack of memory"


def test_invalid_settings_are_refused_with_the_message_of_training(tmp_path: Path) -> None:
    invalid = request(*META)
    invalid.config["loss"]["meta"]["steps"] = 0
    (tmp_path / measuring.REQUEST).write_text(json.dumps(vars(invalid)))
    measuring.main(tmp_path)
    assert "loss.meta.steps=0: must be at least 1" in json.loads((tmp_path / measuring.ANSWER).read_text())["refused"]


def test_measurement_ends_with_its_parent(warm: None, tmp_path: Path) -> None:
    (tmp_path / measuring.REQUEST).write_text(json.dumps(vars(request())))
    command = [sys.executable, "-m", "mcl.benchmarking.measure", str(tmp_path)]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 1
    assert not (tmp_path / measuring.ANSWER).exists()
