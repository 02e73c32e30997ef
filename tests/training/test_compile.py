"""Training steps through torch.compile; all else through the plain networks."""

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
    """Traces and differentiates as torch.compile does, and runs the outcome as it is: quick."""
    monkeypatch.setattr(torch, "compile", functools.partial(COMPILE, backend="aot_eager"))


def trainer_of(*overrides: str) -> Trainer:
    meta = [] if "loss=independent" in overrides else META
    parts = assemble(compose_train([*SMALL, *meta, "trainer.device=cpu", "tracking=none", *overrides]))
    return parts.build_trainer(parts.dataset.load(), seed=0)


def losses(trainer: Trainer, steps: int) -> list[float]:
    """Of the next steps, a meta round after the first of all."""
    trainer.learner.train()
    found = []
    for _, batch in zip(range(steps), trainer.loader.epoch(0, start=trainer.progress.step), strict=False):
        found.append(float(trainer.train_on_batch(batch)["train/total"].detach()))
        trainer.progress.step += 1
    return found


def equals_plain_training(*overrides: str) -> None:
    plain, compiled = trainer_of(*overrides), trainer_of("trainer.compile=true", *overrides)
    assert losses(compiled, 2) == pytest.approx(losses(plain, 2), rel=1e-4)
    assert compiled.learner.state_dict().keys() == plain.learner.state_dict().keys()
    for (name, one), other in zip(
        compiled.learner.state_dict().items(), plain.learner.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)


def test_a_compiled_step_is_the_plain_one(without_compiler: None) -> None:
    equals_plain_training(*NO_SHARDING)


@pytest.mark.slow
def test_a_step_through_the_c_compiler_is_the_plain_one() -> None:
    equals_plain_training()


def goes_on_to_the_last_bit(*overrides: str) -> None:
    undisturbed, stopped, resumed = (trainer_of("trainer.compile=true", *overrides) for _ in range(3))
    expected = losses(undisturbed, 2)
    losses(stopped, 1)
    resumed.state.load_state_dict(stopped.state.state_dict())
    assert losses(resumed, 1) == expected[1:]
    for one, other in zip(resumed.learner.parameters(), undisturbed.learner.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_compiled_training_goes_on_to_the_last_bit(without_compiler: None) -> None:
    goes_on_to_the_last_bit(*NO_SHARDING)


@pytest.mark.slow
def test_a_training_through_the_c_compiler_goes_on_to_the_last_bit() -> None:
    goes_on_to_the_last_bit()


def test_the_meta_round_gets_the_plain_networks(without_compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    trainer = trainer_of("trainer.compile=true")
    trainer.learner.networks = lambda images: called.append("compiled") or trainer.learner.cohort(images)
    one_round = MetaRound.__call__

    def round_alone(*arguments: Any) -> Any:
        assert called == ["compiled"]
        found = one_round(*arguments)
        assert called == ["compiled"]
        called.append("meta")
        return found

    monkeypatch.setattr(MetaRound, "__call__", round_alone)
    losses(trainer, 1)
    assert called == ["compiled", "meta"]


def test_without_a_compiler_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # no kernels of earlier runs
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/g++",))
    with pytest.raises(UserError, match=r"^trainer\.compile=true: torch\.compile failed: .*C\+\+ compiler"):
        losses(trainer_of("trainer.compile=true", *NO_SHARDING), 1)
