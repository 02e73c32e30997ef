"""Replayed steps train as eager ones, bit for bit; shown on the CPU by a stand-in for CUDA graphs."""

import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.gpu import needs_gpu
from support.recorded_calls import RecordedCalls
from support.small_runs import META, SMALL, UNSTEADY, assert_same
from torch import Tensor

from mcl.config.compose import compose_train
from mcl.errors import UserError
from mcl.losses.independent import Independent
from mcl.signals import Stopped, StopSignals
from mcl.tracking.tracker import Trackers
from mcl.training import build_trainer
from mcl.training.capturing import CapturedStep, obstacle
from mcl.training.recording import CudaGraphs
from mcl.training.setup import assemble
from mcl.training.train_step import TrainStep
from mcl.training.trainer import Trainer

RAMP = "{_target_: mcl.losses.ramps.Linear, weight: 0.1, length: 2}"
RUNS = {  # 3 epochs of 4 batches of 7 images and one of 4; meta rounds at steps 0, 4, 8 and 12
    "independent": ["trainer.ema=0.8", "trainer.precision=bfloat16", "schedule=cosine"],
    "deep_supervision": ["optimizer=adamw", "trainer.clip_norm=0.1", "+optimizer.fused=false"],
    "mcl": [f"loss.weights.icl={RAMP}", "trainer.clip_norm=1", "trainer.ema=0.7", "schedule=constant"],
    "lmcl": [*META, "schedule=cosine", "loss.meta.outer_batch=next"],
    "lmcl_imagenet": [*META, "loss.contrast.neg_k=6", "schedule=cosine"],
    "cl_ilr": ["recipe=modern", "trainer.batch_size=6", "trainer.class_weights=balanced", "schedule=constant"],
    "dml": [f"loss.weights.distillation={RAMP}", "trainer.precision=float16", "optimizer=adamw"],
    "pcl": ["pair.shared_stages=2", "dataset.augmentation.padding=1"],
    "one": ["pair.shared_stages=2"],
    "ffl": ["schedule=cosine"],
    "switokd": ["schedule=constant"],  # its teacher pauses in step 6, after the update was recorded
    "kdcl": ["loss.form=general", "dataset.validation=0.2"],
    "kdcl linear": ["loss.form=linear"],
}
SLOW = ("deep_supervision", "lmcl", "one", "pcl", "ffl", "kdcl", "kdcl linear")  # on the CPU


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> RecordedCalls:
    recorder = RecordedCalls()
    monkeypatch.setattr(
        build_trainer, "graph_recorder", lambda options, *_: recorder if options.capture == "auto" else None
    )
    return recorder


def trainer_of(*overrides: str, eager: bool = False, device: str = "cpu") -> Trainer:
    options = [*SMALL, "trainer.epochs=3", f"trainer.device={device}", "tracking=none", *overrides]
    config = compose_train([*options, *["trainer.capture=off"] * eager])
    parts = assemble(config)
    return parts.build_trainer(parts.dataset.load(), seed=config.seed)


def fit(trainer: Trainer, steps: int | None = None) -> list[dict[str, float]]:
    """Train to the end, or for some steps. Return the metrics of every log point and evaluation."""
    lines: list[dict[str, float]] = []
    trainer._log = lambda metrics: lines.append(  # type: ignore[method-assign]
        {name: value for name, value in metrics.items() if name not in UNSTEADY}
    )
    signals = StopSignals()
    if steps is not None:
        signals.check = lambda *_: stop_at(trainer, steps)  # type: ignore[method-assign]
    with contextlib.suppress(Stopped):
        trainer.fit(None, Trackers(), signals)
    return lines


def stop_at(trainer: Trainer, step: int) -> None:
    if trainer.progress.step >= step:
        raise Stopped("SIGTERM")


def assert_equal(one: Trainer, other: Trainer) -> None:
    states = [trainer.state.state_dict() for trainer in (one, other)]
    for part in ("learner", "optimizers", "meters", "results", "best", "step", "random_states"):
        assert_same(states[0][part], states[1][part], part)
    assert_same(*(state.get("loss_scaling") for state in states), "loss_scaling")


@pytest.mark.parametrize("loss", [pytest.param(loss, marks=[pytest.mark.slow] * (loss in SLOW)) for loss in RUNS])
def test_captured_training_equals_eager_training_bit_for_bit(
    loss: str, recorder: RecordedCalls, caplog: pytest.LogCaptureFixture
) -> None:
    options = [f"loss={loss.split()[0]}", *RUNS[loss]]
    eager, captured = trainer_of(*options, eager=True), trainer_of(*options)
    assert fit(captured) == fit(eager)
    assert recorder.recorded >= 2 - ("+optimizer.fused=false" in options)
    assert recorder.replays >= 7  # of 12 full batches: forward and backward pass alone, or the update too
    assert_equal(eager, captured)
    assert not [record for record in caplog.records if "without CUDA graphs" in record.message]
    for one, two in zip(eager.train_step.parameters, captured.train_step.parameters, strict=True):
        assert_same(one.grad, two.grad, "gradients")  # histograms show them


@needs_gpu
@pytest.mark.parametrize("loss", RUNS)
def test_captured_training_equals_eager_training_on_a_gpu(loss: str, caplog: pytest.LogCaptureFixture) -> None:
    options = [f"loss={loss.split()[0]}", "trainer.deterministic=true", "trainer.precision=float32", *RUNS[loss]]
    eager, captured = (trainer_of(*options, eager=eager, device="cuda") for eager in (True, False))
    assert type(eager.train_step) is TrainStep
    assert isinstance(captured.train_step, CapturedStep)
    assert fit(captured) == fit(eager)
    assert captured.train_step.enabled, caplog.text
    assert captured.train_step._gradients.recordings >= 1
    assert_equal(eager, captured)


@needs_gpu
def test_generators_of_modules_go_on_in_replays_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Independent.forward

    def with_noise(self: Independent, outputs: Any, batch: Any) -> dict[str, Tensor]:
        noise = torch.rand((), generator=self.noise, device="cuda")
        return {name: term * noise * torch.rand_like(term) for name, term in forward(self, outputs, batch).items()}

    build = build_trainer.graph_recorder

    def with_generator(options: Any, learner: Any, world_size: int) -> Any:
        learner.loss.noise = torch.Generator("cuda").manual_seed(0)
        torch.manual_seed(0)
        return build(options, learner, world_size)

    monkeypatch.setattr(Independent, "forward", with_noise)
    monkeypatch.setattr(build_trainer, "graph_recorder", with_generator)
    lines = []
    for eager in (True, False):
        trainer = trainer_of("loss=independent", "trainer.deterministic=true", eager=eager, device="cuda")
        lines.append(fit(trainer))
    assert isinstance(trainer.train_step, CapturedStep)
    assert trainer.train_step.enabled
    assert trainer.train_step._gradients.recordings == 1
    assert lines[0] == lines[1]


@needs_gpu
def test_a_failed_recording_on_a_gpu_leaves_training_as_it_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forward = Independent.forward

    def reading(self: Independent, outputs: Any, batch: Any) -> dict[str, Tensor]:
        return {name: term * float(batch.labels.sum()) for name, term in forward(self, outputs, batch).items()}

    monkeypatch.setattr(Independent, "forward", reading)
    options = ["loss=independent", "trainer.deterministic=true", "optimizer.lr=1e-4"]
    eager, captured = (trainer_of(*options, eager=eager, device="cuda") for eager in (True, False))
    if not CudaGraphs.recovers:
        with pytest.raises(UserError, match=r"trainer\.capture=off"):
            fit(captured)
        return
    assert fit(captured) == fit(eager)
    assert_equal(eager, captured)
    assert isinstance(captured.train_step, CapturedStep)
    assert not captured.train_step.enabled
    assert len([record for record in caplog.records if record.message.startswith("trainer.capture")]) == 1


def test_captured_training_resumes_bit_for_bit(recorder: RecordedCalls) -> None:
    options = ["loss=mcl", "schedule=cosine", "trainer.ema=0.8"]
    eager, stopped, resumed = trainer_of(*options, eager=True), trainer_of(*options), trainer_of(*options)
    fit(eager)
    fit(stopped, steps=8)
    assert recorder.replays
    resumed.state.load_state_dict(stopped.state.state_dict())
    fit(resumed)
    assert_equal(eager, resumed)


def test_random_numbers_of_the_device_go_on_in_replays(
    recorder: RecordedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Independent.forward

    def with_noise(self: Independent, outputs: Any, batch: Any) -> dict[str, Tensor]:
        terms = forward(self, outputs, batch)
        return {name: term * torch.rand_like(term) for name, term in terms.items()}

    monkeypatch.setattr(Independent, "forward", with_noise)
    trainers, lines, drawn = [], [], []
    for eager in (True, False):
        trainers.append(trainer_of("loss=independent", eager=eager))
        lines.append(fit(trainers[-1]))
        drawn.append(torch.get_rng_state())
    assert lines[0] == lines[1]
    assert recorder.replays > 9
    assert torch.equal(*drawn)


def altered(monkeypatch: pytest.MonkeyPatch, factor: Callable[[Independent, Any], Any]) -> tuple[Trainer, Trainer]:
    """Return trainers of independent networks, eager and captured, whose loss has a factor from Python."""
    forward = Independent.forward

    def with_factor(self: Independent, outputs: Any, batch: Any) -> dict[str, Tensor]:
        return {name: term * factor(self, batch) for name, term in forward(self, outputs, batch).items()}

    monkeypatch.setattr(Independent, "forward", with_factor)
    options = ["loss=independent", "schedule=constant"]
    return trainer_of(*options, eager=True), trainer_of(*options)


def test_a_number_that_is_an_attribute_is_never_baked_in(
    recorder: RecordedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Independent, "set_epoch", lambda self, epoch: setattr(self, "margin", 1.0 + epoch // 2))
    eager, captured = altered(monkeypatch, lambda loss, batch: loss.margin)
    assert fit(captured) == fit(eager)
    assert recorder.recorded == 4  # forward and backward pass, then the update, for epochs 0 and 2
    assert recorder.replays == (12 - 4) + (12 - 4 - 2)
    assert_equal(eager, captured)


def test_the_stand_in_shows_a_baked_in_number(recorder: RecordedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [0]

    def count(*_: Any) -> int:
        calls[0] += 1
        return calls[0]

    eager, captured = altered(monkeypatch, count)
    lines = fit(eager)
    calls[0] = 0
    assert fit(captured) != lines


def test_the_stand_in_shows_a_tensor_that_does_not_stay(
    recorder: RecordedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {}

    def outside(loss: Independent, batch: Any) -> Tensor:
        return inputs["factor"]

    eager, captured = altered(monkeypatch, outside)
    lines = []
    for trainer in (eager, captured):
        loader, numbers = trainer.train_on_batch, iter(range(1, 100))

        def step(*batches: Any, loader: Any = loader, numbers: Any = numbers) -> Any:
            inputs["factor"] = torch.tensor(float(next(numbers)))
            return loader(*batches)

        trainer.train_on_batch = step  # type: ignore[method-assign]
        lines.append(fit(trainer))
    assert lines[0] != lines[1]


def test_the_stand_in_refuses_generators_that_are_not_registered() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return torch.rand(3, generator=generator)

    with pytest.raises(RuntimeError, match="not registered"):
        RecordedCalls().record(draw)
    replay, drawn = RecordedCalls([generator]).record(draw)
    for _ in range(2):
        replay()
    torch.rand(3, generator=(other := torch.Generator().manual_seed(0)))
    assert torch.equal(drawn, torch.rand(3, generator=other))


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (lambda loss, batch: 1 + random.random(), "draws random numbers on the host"),
        (lambda loss, batch: float(batch.labels.sum()), "recording failed (operation not permitted"),
    ],
    ids=["host random numbers", "reading a value"],
)
def test_what_cannot_be_replayed_runs_eagerly_and_says_why_once(
    factor: Callable[..., float],
    reason: str,
    recorder: RecordedCalls,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    eager, captured = altered(monkeypatch, factor)
    random.seed(0)
    with caplog.at_level(logging.WARNING):
        lines = fit(captured)
    random.seed(0)
    assert lines == fit(eager)
    assert_equal(eager, captured)
    (line,) = [record.message for record in caplog.records if record.message.startswith("trainer.capture")]
    assert reason in line
    assert recorder.recorded == 0


def test_training_ends_where_pytorch_cannot_go_on_after_a_failed_recording(
    recorder: RecordedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "recovers", False, raising=True)
    _, captured = altered(monkeypatch, lambda loss, batch: float(batch.labels.sum()))
    with pytest.raises(UserError, match=r"operation not permitted.*cannot go on.*with trainer\.capture=off"):
        fit(captured)


def test_obstacles_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of("loss=independent")
    assert type(trainer.train_step).__name__ == "TrainStep"  # the default on a CPU
    options, learner = trainer.options, trainer.learner
    assert obstacle(options, learner, 1) is None
    assert "2 processes" in str(obstacle(options, learner, 2))
    options.accumulate = 2
    assert "trainer.accumulate=2" in str(obstacle(options, learner, 1))
    options.accumulate = 1
    options.compile = "reduce-overhead"
    assert "reduce-overhead" in str(obstacle(options, learner, 1))
    options.compile = "max-autotune"
    assert obstacle(options, learner, 1) is None
    learner.loss.noise = torch.Generator()
    assert obstacle(options, learner, 1) is None
    options.device = torch.device("meta")
    assert "generator" in str(obstacle(options, learner, 1))
    monkeypatch.setattr(Independent, "capturable", False)
    assert "Independent does not declare" in str(obstacle(options, learner, 1))


def test_batches_of_another_size_run_eagerly(recorder: RecordedCalls) -> None:
    trainer = trainer_of("loss=independent", "schedule=constant")
    assert isinstance(trainer.train_step, CapturedStep)
    fit(trainer)
    assert trainer.train_step._batch is not None
    assert len(trainer.train_step._batch.labels) == 7
    # 12 steps of 7 images, of which 3 come before the first recording; that of the update follows a step later.
    assert recorder.replays == (12 - 3) + (12 - 4)
