import os

import pytest

from mcl.config.grouping import (
    GROUP,
    VARIED,
    current_group,
    grouped,
    multirun_name,
    short_options,
    swept_options,
    varied_options,
)


@pytest.fixture(autouse=True)
def _no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GROUP, raising=False)
    monkeypatch.delenv(VARIED, raising=False)


def test_a_single_run_has_no_group() -> None:
    assert multirun_name(["loss=mcl", "seed=1"]) is None
    with grouped(None):
        assert current_group() is None


def test_a_multirun_is_called_what_was_typed_and_the_same_again() -> None:
    assert multirun_name(["-m", "loss=mcl,lmcl", "seed=0,1", "hydra/launcher=gpus"]) == "loss=mcl,lmcl seed=0,1"
    long = [["-m", f"loss.weights.vcl={value}", "seed=" + "1," * 100] for value in (1, 2)]
    assert multirun_name(long[0]) == multirun_name(long[0]) != multirun_name(long[1])
    assert len(multirun_name(long[0]) or "") <= 80


def test_processes_started_inside_inherit_the_outermost_group() -> None:
    with grouped("study", ["loss", "seed"]), grouped("sweep", ["seed"]):
        assert os.environ[GROUP] == "study"
        assert varied_options() == ["loss", "seed"]
    assert GROUP not in os.environ
    assert varied_options() == []


def test_a_group_of_the_user_keeps_its_name_and_learns_what_varies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GROUP, "mine")
    with grouped("seed=0,1", ["seed"]):
        assert (current_group(), varied_options()) == ("mine", ["seed"])


def test_what_varies_comes_first_in_the_name_of_a_multirun() -> None:
    typed = ["-m", "dataset=digits", "+loss.weights.vcl=0,1", "optimizer.lr=range(1, 3)", "trainer.epochs=2"]
    assert swept_options(typed) == ["loss.weights.vcl", "optimizer.lr"]
    assert multirun_name(typed) == "+loss.weights.vcl=0,1 optimizer.lr=range(1, 3) dataset=digits trainer.epochs=2"
    assert swept_options(["-m", "a=b=(", "x=1,2"]) == []  # Hydra reports it


def test_another_configuration_is_another_group() -> None:
    plain, other = ["-m", "seed=0,1"], ["-m", "seed=0,1", "--config-dir", "mine"]
    assert multirun_name(plain) == "seed=0,1"
    assert multirun_name(other) == "seed=0,1 --config-dir mine"


def test_options_are_shortened_as_far_as_they_stay_different() -> None:
    options = ["loss", "loss.weights.vcl", "pair.first.width", "pair.second.width", "network@pair.first"]
    assert list(short_options(options).values()) == ["loss", "vcl", "first.width", "second.width", "first"]
