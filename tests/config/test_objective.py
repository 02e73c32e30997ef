"""Valid objectives of a search, and the errors for others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_runs import SMALL

from mcl.config import objective
from mcl.config.explain import explain
from mcl.config.resolvers import check_search
from mcl.errors import UserError

SEARCH = (
    "-m",
    "hydra/sweeper=optuna",
    "hydra.sweeper.n_trials=1",
    "loss.tau=interval(0.05,0.2)",
    "trainer.max_steps=1",
)
MAXIMIZE = "hydra.sweeper.direction=maximize"
TWO = "objective=[validation/top1_last,multiply_adds]"


@pytest.mark.parametrize("name", ["test/top1_last", "test"])
def test_test_metric_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"chosen on the test split.*validation/top1_last"):
        objective.check(name)


def test_mistyped_objective_is_told_the_right_one() -> None:
    with pytest.raises(UserError, match="Did you mean 'validation/top1_best'"):
        objective.check("validation/top1_bets")


@pytest.mark.parametrize("given", [["multiply_adds"], "multiply_adds", ["validation/top1_last"] * 2, []])
def test_objective_needs_one_accuracy(given: object) -> None:
    with pytest.raises(UserError, match="expected one accuracy"):
        objective.check(given)


def test_values_of_several_objectives_come_in_their_order() -> None:
    networks = [{"validation_top1_last": 90.0, "multiply_adds": 6}, {"validation_top1_last": 80.0, "multiply_adds": 2}]
    names = ["multiply_adds", "validation/top1_last"]
    objective.check(names)
    assert objective.value({"networks": networks}, names) == [4.0, 85.0]
    assert objective.directions(names) == ["minimize", "maximize"]


@pytest.mark.parametrize("name", objective.NAMES)
def test_value_is_the_mean_over_the_networks(name: str) -> None:
    key = name.replace("/", "_")
    assert objective.value({"networks": [{key: 90.0}, {key: 80.0}]}, name) == 85.0


@pytest.mark.parametrize("networks", [[{}], [{"validation_top1_last": None}]])
def test_without_a_validation_part_there_is_no_value(networks: list[dict[str, None]]) -> None:
    assert objective.value({"networks": networks}, "validation/top1_last") is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([MAXIMIZE], "dataset.validation=0.1"),
        ([MAXIMIZE, "dataset.validation=0.1", "objective=test/top1_last"], "chosen on the test split"),
        (["dataset.validation=0.1", "hydra.sweeper.direction=minimize"], MAXIMIZE),
        (["dataset.validation=0.1", "hydra.sweeper.direction=[maximize,minimize]"], "there is one objective"),
        (["dataset.validation=0.1", TWO], "hydra.sweeper.direction=[maximize,minimize]"),
    ],
)
def test_search_that_cannot_work_is_refused_before_anything_is_trained(
    overrides: list[str], message: str, command: Callable[..., Any]
) -> None:
    pytest.importorskip("optuna")
    done = command(*SEARCH, *overrides)
    assert done.status == 1
    assert done.err.count("error:") == 1
    assert message in done.err
    assert not list(Path().rglob("*.y*ml"))


def test_summary_of_a_run_has_the_objective(command: Callable[..., Any]) -> None:
    assert command(*SMALL, "loss=independent", "dataset.validation=0.2", "objective=validation/top1_best").status == 0
    (file,) = Path().rglob("summary.json")
    summary = json.loads(file.read_text())
    assert summary["objective"] == objective.value(summary, "validation/top1_best")
    assert summary["objective"] == sum(network["validation_top1_best"] for network in summary["networks"]) / 2


def test_error_that_a_job_found_elsewhere_is_one_line() -> None:
    text = "omegaconf.errors.InterpolationResolutionError: UserError raised while resolving interpolation: seed=-1: no."
    assert (
        explain(RuntimeError(f"Job failed with trace:\n{text}\n    full_key: hydra.sweep.subdir\n")) == "seed=-1: no."
    )


def test_sweep_that_does_not_search_needs_no_validation_part(composed: Callable[..., Any]) -> None:
    config = composed(hydra=True)
    check_search(config, config.hydra.sweeper)


def test_dataset_may_come_with_a_validation_part_of_its_own(composed: Callable[..., Any], tmp_path: Path) -> None:
    from PIL import Image

    overrides = ("dataset=folder", f"dataset.root={tmp_path}", "dataset.image_size=8")
    sweeper = {"_target_": "some.Sweeper"}
    for part in ("train", "test", "val"):
        for label in ("a", "b"):
            (tmp_path / part / label).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / part / label / "1.png")
    check_search(composed(*overrides), sweeper)
    for file in sorted((tmp_path / "val").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (tmp_path / "val").rmdir()
    with pytest.raises(UserError, match="no validation split"):
        check_search(composed(*overrides), sweeper)
