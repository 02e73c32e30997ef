"""The compositions that tests share equal Hydra's."""

from typing import Any

import pytest
from config.test_loader import JOBS, WRONG, loaders, plain
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from support import shared_compositions

MULTIRUNS = [
    ["hydra/launcher=gpus", "hydra.launcher.devices=cpu", "loss=mcl,lmcl", "seed=0,1", "hydra.sweep.dir=x"],
    ["seed=0,1", "hydra.run.dir=x", "pair=resnet20"],
]


def composed(overrides: list[str], run_mode: RunMode, **options: bool) -> list[Any]:
    """Return the composition of Hydra and two that are shared, as plain values."""
    loader, _ = loaders()
    names = (shared_compositions._compose, *[shared_compositions._compose_once] * 2)
    return [plain(compose(loader, "train", list(overrides), run_mode, **options)) for compose in names]


@pytest.mark.parametrize("overrides", [*JOBS[:7], ["hydra.run.dir=x", "hydra.mode=RUN", "seed=1"]])
def test_runs_compose_alike(overrides: list[str]) -> None:
    expected, first, again = composed(overrides, RunMode.RUN)
    assert first == again == expected


@pytest.mark.parametrize("overrides", MULTIRUNS)
def test_multiruns_compose_alike(overrides: list[str]) -> None:
    expected, first, again = composed(overrides, RunMode.MULTIRUN)
    assert first == again == expected


def test_mode_of_a_run_is_that_of_hydra() -> None:
    expected, first, again = composed(["seed=1", "loss=mcl"], RunMode.MULTIRUN, validate_sweep_overrides=False)
    assert first == again == expected


@pytest.mark.parametrize("overrides", [overrides for overrides in WRONG if overrides != ["seed=x"]])
def test_errors_are_hydras(overrides: list[str]) -> None:
    loader, _ = loaders()
    messages = []
    for compose in (shared_compositions._compose, shared_compositions._compose_once):
        with pytest.raises(HydraException) as error:
            compose(loader, "train", list(overrides), RunMode.RUN)
        messages.append((type(error.value), str(error.value)))
    assert messages[0] == messages[1]


def test_a_composition_does_not_change_the_next_one() -> None:
    loader, _ = loaders()
    config = shared_compositions._compose_once(loader, "train", ["seed=1"], RunMode.RUN)
    OmegaConf.update(config, "optimizer.lr", 100)
    assert shared_compositions._compose_once(loader, "train", ["seed=2"], RunMode.RUN).optimizer.lr == 0.1
