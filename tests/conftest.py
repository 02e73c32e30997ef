"""Fixtures shared by all tests."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for all subprocesses

import pytest
import torch
from fakes.small_jobs import hear_signals
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from support.shared_compositions import _own_compositions, _shared_compositions  # noqa: F401 - fixtures
from support.warm_python import warm_python

from mcl import console
from mcl.config import loader
from mcl.config.conf_folder import conf_folder
from mcl.config.schema import register

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it to the width of its own terminal

console.ANNOUNCE_AFTER = loader.FIRST_LINE = 3600.0  # seconds: on a busy machine, any work may seem long

os.environ["WANDB_MODE"] = "disabled"  # except in tests that enable it; subprocesses inherit it


_signals_are_heard = pytest.fixture(scope="session", autouse=True)(hear_signals)  # also under nohup


class CommandResult(NamedTuple):
    """Exit status and output of a command."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Undo what Hydra, called in the process of a test, sets up for logging: its streams are closed after the test."""
    loggers = [logging.root, *(logging.getLogger(name) for name in ("hydra", "mcl"))]
    before = [(logger, logger.level, logger.propagate, logger.disabled, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, propagate, disabled, handlers in before:
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
        for handler in list(logger.handlers):
            if handler not in handlers and not type(handler).__module__.startswith("_pytest."):
                logger.removeHandler(handler)


@pytest.fixture(scope="session")
def warm_executable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stand-in for ``sys.executable`` that need not import torch: see `support.warm_python`."""
    with warm_python(tmp_path_factory.mktemp("python")) as executable:
        yield executable


@pytest.fixture
def warm(warm_executable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a test starts as ``sys.executable`` start with torch imported."""
    monkeypatch.setattr(sys, "executable", warm_executable)


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """``composed("pair=resnet20", "seed=1")``: the configuration; ``hydra=True`` adds the ``hydra`` node."""

    def make(*overrides: str, hydra: bool = False) -> DictConfig:
        register()
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return compose("train", overrides=list(overrides), return_hydra_config=hydra)

    return make


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., CommandResult]:
    """``command("pair=resnet20")``: run ``python train.py pair=resnet20`` in an empty folder, in this process."""
    import train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("MCL_CACHE", str(tmp_path / "cache"))

    def run_command(*arguments: str) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        capfd.readouterr()
        status = 0
        try:
            train.train()
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        out, err = capfd.readouterr()
        return CommandResult(status, out, err)

    return run_command
