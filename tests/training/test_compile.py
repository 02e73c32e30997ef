"""torch.compile for training steps; everything else uses the plain networks."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_runs import META, SMALL

from mcl.config.compose import compose_train
from mcl.errors import UserError
from mcl.training.meta_round import MetaRound
from mcl.training.setup import assemble
from mcl.training.trainer import Trainer

COMPILE = torch.compile
NO_SHARDING = ["pair=single", "loss=independent"]


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and differentiate as torch.compile does, but run the graph without a compiler, which is quick."""
    monkeypatch.setattr(torch, "compile", functools.partial(COMPILE, backend="aot_eager"))


def trainer_of(*overrides: str) -> Trainer:
    meta = [] if "loss=independent" in overrides else META
    parts = assemble(compose_train([*SMALL, *meta, "trainer.device=cpu", "tracking=none", *overrides]))
    return parts.build_trainer(parts.dataset.load(), seed=0)


def losses(trainer: Trainer, steps: int) -> list[float]:
    """Return the losses of the next steps; a meta round follows the very first step."""
    trainer.learner.train()
    values = []
    for _, batch in zip(range(steps), trainer.loader.epoch(0, start=trainer.progress.step), strict=False):
        values.append(float(trainer.train_on_batch(batch)["train/total"].detach()))
        trainer.progress.step += 1
    return values


def equals_plain_training(*overrides: str) -> None:
    plain, compiled = trainer_of(*overrides, "trainer.compile=false"), trainer_of("trainer.compile=true", *overrides)
    assert losses(compiled, 2) == pytest.approx(losses(plain, 2), rel=1e-4)
    assert compiled.learner.state_dict().keys() == plain.learner.state_dict().keys()
    for (name, one), other in zip(
        compiled.learner.state_dict().items(), plain.learner.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)


def test_compiled_step_equals_plain_step(without_compiler: None) -> None:
    equals_plain_training(*NO_SHARDING)


@pytest.mark.slow
def test_step_through_inductor_equals_plain_step() -> None:
    equals_plain_training()


def assert_resumes_bit_for_bit(*overrides: str) -> None:
    undisturbed, stopped, resumed = (trainer_of("trainer.compile=true", *overrides) for _ in range(3))
    expected = losses(undisturbed, 2)
    losses(stopped, 1)
    resumed.state.load_state_dict(stopped.state.state_dict())
    assert losses(resumed, 1) == expected[1:]
    for one, other in zip(resumed.learner.parameters(), undisturbed.learner.parameters(), strict=True):
        assert torch.equal(one, other)


def test_compiled_training_resumes_bit_for_bit(without_compiler: None) -> None:
    assert_resumes_bit_for_bit(*NO_SHARDING)


@pytest.mark.slow
def test_training_through_inductor_resumes_bit_for_bit() -> None:
    assert_resumes_bit_for_bit()


def test_meta_round_uses_uncompiled_networks(without_compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    trainer = trainer_of("trainer.compile=true")
    trainer.learner.networks = lambda images: called.append("compiled") or trainer.learner.cohort(images)
    one_round = MetaRound.__call__

    def round_alone(*arguments: Any) -> Any:
        assert called == ["compiled"]
        loss = one_round(*arguments)
        assert called == ["compiled"]
        called.append("meta")
        return loss

    monkeypatch.setattr(MetaRound, "__call__", round_alone)
    losses(trainer, 1)
    assert called == ["compiled", "meta"]


@pytest.mark.parametrize(
    ("given", "mode"),
    [("true", "default"), ("max-autotune", "max-autotune-no-cudagraphs"), ("reduce-overhead", "reduce-overhead")],
)
def test_modes_are_those_of_torch_compile(given: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: modes.append(options["mode"]) or function)
    trainer_of(f"trainer.compile={given}", *NO_SHARDING)
    assert modes == [mode]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["max-autotune", "reduce-overhead"])
def test_step_in_another_mode_equals_plain_step(mode: str) -> None:
    equals_plain_training(*NO_SHARDING, f"trainer.compile={mode}")


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(UserError, match="true or false or one of max-autotune, reduce-overhead"):
        trainer_of("trainer.compile=max", *NO_SHARDING)


def test_missing_compiler_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # no kernels of earlier runs
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/g++",))
    with pytest.raises(UserError, match=r"^trainer\.compile=true: torch\.compile failed: .*C\+\+ compiler"):
        losses(trainer_of("trainer.compile=true", *NO_SHARDING), 1)
