"""``trainer.test=false``, as in a search: no test image is looked at, and results are those of the validation split."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_runs import Outcome

from mcl.data.dataset import Images, Splits
from mcl.data.synthetic import Synthetic
from mcl.runs.reading import read_run

Small = Callable[..., Any]


class Untouchable:
    """Images that nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a test image was read ({name})")


@pytest.fixture
def _guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Synthetic.load

    def guarded(dataset: Synthetic) -> Splits:
        splits = load(dataset)
        return splits._replace(test=Images(Untouchable(), Untouchable()))  # type: ignore[arg-type]

    monkeypatch.setattr(Synthetic, "load", guarded)


@pytest.mark.usefixtures("_guarded")
def test_no_test_image_is_read(small: Small) -> None:
    with pytest.raises(AssertionError, match="a test image was read"):
        small("tested", "dataset.validation=0.4")  # so the guard works
    done = small("run", "dataset.validation=0.4", "trainer.test=false")
    assert done.status == 0, done.err
    assert "validation accuracy, %" in done.out
    summary = json.loads(Path("run/summary.json").read_text())
    for network in summary["networks"]:
        assert network["top1_last"] is None
        assert network["top1_best"] is None
        assert network["validation_top1_last"] is not None
    assert '"test/' not in Path("run/metrics.jsonl").read_text()
    run = read_run(Path("run"))
    assert (run.status, run.notes, run.evaluations) == ("finished", [], [])
    assert run.evaluated_step == summary["steps"]


@pytest.mark.usefixtures("_guarded")
def test_search_reads_no_test_image(command: Callable[..., Any]) -> None:
    pytest.importorskip("optuna")
    from support.small_runs import SMALL

    search = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra/sweeper/pruner=asha"]
    done = command(*search, *SMALL, "loss=independent", "dataset.validation=0.4", "optimizer.lr=interval(0.01,0.1)")
    assert done.status == 0, done.err
    assert "2 trials" in done.out


def test_training_does_not_depend_on_whether_the_test_split_is_evaluated(small: Small) -> None:
    for folder, option in (("with", "true"), ("without", "false")):
        assert small(folder, "dataset.validation=0.4", f"trainer.test={option}").status == 0
    one, other = Outcome("with"), Outcome("without")
    assert one.summary["config_hash"] != other.summary["config_hash"]
    for name in ("validation_top1_last", "validation_top1_best", "best_epoch"):
        assert [each[name] for each in one.summary["networks"]] == [each[name] for each in other.summary["networks"]]


def test_stopped_run_without_the_test_split_resumes_without_repeating_an_evaluation(
    small: Small, during_step: Callable[[int, Callable[[], None]], None]
) -> None:
    import os
    import signal

    options = ("dataset.validation=0.4", "trainer.test=false")
    assert small("undisturbed", *options).status == 0
    steps = json.loads(Path("undisturbed/summary.json").read_text())["steps"]
    during_step(steps // 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("run", *options).status == 75
    assert small("run", *options).status == 0
    assert Outcome("run").equals(Outcome("undisturbed"))


def test_without_any_split_to_evaluate_there_is_one_error(small: Small) -> None:
    done = small("run", "trainer.test=false")
    assert done.status == 1
    assert done.err.count("error:") == 1
    assert "dataset.validation=0.1" in done.err


def test_report_says_that_the_test_split_was_left_alone(small: Small) -> None:
    from mcl.__main__ import main

    assert small("runs/one", "dataset.validation=0.4", "trainer.test=false").status == 0
    assert main(["report", "runs", "--out", "report"]) == 0
    assert "seed 0 left the test split alone, so there is no `top1_last`" in Path("report/RESULTS.md").read_text()
