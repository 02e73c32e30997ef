"""Runs of MLflow, read back from a local store."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.snapshots import make_snapshot

from mcl.errors import UserError
from mcl.tracking import LocalFiles, MlflowTracker, RunInfo, Trackers

pytest.importorskip("mlflow")
MakeRun = Callable[..., RunInfo]
TRAIN, TEST = "train/total", "test/first/backbone/top1"


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Use files: MLflow takes seconds to create a database."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MCL_CACHE", str(tmp_path / "cache"))
    levels = {name: logging.getLogger(name).level for name in ("mlflow", "alembic")}
    yield (tmp_path / "store").as_uri()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def stored(uri: str, run: RunInfo) -> Any:
    return client(uri).get_run((run.run_dir / "mlflow" / "run_id").read_text().strip())


def points(uri: str, run: RunInfo, name: str) -> list[tuple[int, float]]:
    history = client(uri).get_metric_history(stored(uri, run).info.run_id, name)
    return [(each.step, each.value) for each in history]


def attempt(uri: str, run: RunInfo, *rows: tuple[str, int], status: Any = "interrupted", **end: Any) -> None:
    trackers = Trackers([LocalFiles(), MlflowTracker(uri)])
    trackers.start(run)
    for name, step in rows:
        trackers.log({name: float(step)}, step=step, epoch=step // 10)
    trackers.finish(status, **end)


def test_names_that_mlflow_does_not_accept_are_changed(make_run: MakeRun, uri: str, caplog: Any) -> None:
    run = make_run(config={"loss": {"weights": {"kl(p||q)": 0.5}}})
    attempt(uri, run, ("train/kl(p||q)", 10), (TRAIN, 10))
    assert caplog.messages == []
    assert points(uri, run, "train/kl_p__q_") == [(10, 10.0)]
    assert stored(uri, run).data.params["loss.weights.kl_p__q_"] == "0.5"


def test_metrics_settings_and_summary_are_stored(make_run: MakeRun, summary: dict[str, Any], uri: str) -> None:
    config = {"optimizer": {"lr": 0.5}, "loss": {"_target_": "x" * 9000}}
    run = make_run(config=config, group="study", code={"commit": "abc"}, facts={"data": "1f"}, tags=("digits", "lmcl"))
    attempt(uri, run, (TRAIN, 10), (TEST, 10), (TRAIN, 20), (TEST, 20), status="finished", summary=summary)
    assert points(uri, run, TRAIN) == points(uri, run, TEST) == [(10, 10.0), (20, 20.0)]
    found = stored(uri, run)
    assert client(uri).get_experiment(found.info.experiment_id).name == "mcl"
    assert (found.info.status, found.info.run_name) == ("FINISHED", "a run")
    assert found.data.params["optimizer.lr"] == "0.5"
    assert len(found.data.params["loss._target_"]) == 500
    assert found.data.metrics["first/top1_best"] == 93.5
    wanted = {"group": "study", "tags": "digits, lmcl", "data": "1f", "settings": "0a1b2c3d"}
    assert wanted.items() <= found.data.tags.items()
    assert found.data.tags["mlflow.source.git.commit"] == "abc"
    assert [file.path for file in client(uri).list_artifacts(found.info.run_id)] == ["summary.json"]


def test_a_resumed_run_continues_under_its_id_with_every_point_once(make_run: MakeRun, uri: str) -> None:
    rows = [(TRAIN, 10), (TEST, 10), (TRAIN, 20), (TEST, 20), (TRAIN, 30)]
    attempt(uri, run := make_run(config={"trainer": {"device": "cpu"}}), *rows, status="failed", error=UserError("hot"))
    first = stored(uri, run)
    assert (first.info.status, first.data.tags["error"]) == ("FAILED", "hot")
    resumed = make_run(config={"trainer": {"device": "cuda"}}, resumed_step=20, resumed_lines=3)
    attempt(uri, resumed, *rows[3:], (TEST, 30), status="finished", summary={})
    second = stored(uri, run)
    assert second.info.run_id == first.info.run_id
    assert (second.info.status, second.data.tags["error"]) == ("FINISHED", "")
    assert points(uri, run, TRAIN) == [(10, 10.0), (20, 20.0), (30, 30.0)]
    assert points(uri, run, TEST) == [(10, 10.0), (20, 20.0), (30, 30.0)]


def test_a_resumed_run_sends_the_rows_that_a_killed_attempt_did_not(make_run: MakeRun, uri: str) -> None:
    tracker, files = MlflowTracker(uri), LocalFiles()
    for each in (tracker, files):
        each.start(make_run())
    for step in (10, 20, 30):
        files.log({TRAIN: float(step)}, step=step, epoch=1)
    tracker.log({TRAIN: 10.0}, step=10, epoch=1)  # killed before it has sent the other rows
    attempt(uri, run := make_run(resumed_step=30, resumed_lines=3), (TRAIN, 40), status="finished", summary={})
    assert points(uri, run, TRAIN) == [(10, 10.0), (20, 20.0), (30, 30.0), (40, 40.0)]
    assert "time" not in stored(uri, run).data.metrics


def test_a_run_that_starts_over_or_was_deleted_is_a_new_one(
    make_run: MakeRun, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids: list[str] = []
    for run in (make_run(), make_run(), make_run(resumed_step=10, resumed_lines=1)):
        assert "MLflow" not in caplog.text
        attempt(uri, run, (TRAIN, 10))
        ids.append(stored(uri, run).info.run_id)
        uri = uri if len(ids) == 1 else (tmp_path / "other").as_uri()
    assert len(set(ids)) == 3
    assert f"MLflow: run {ids[1]} is not in this store, so this continues as a new one." in caplog.text


def test_pictures_and_networks_are_files_of_the_run(make_run: MakeRun, uri: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(uri, experiment="mine", pictures=1, models=True)
    tracker.start(run := make_run())
    tracker.snapshot(make_snapshot(3))
    tracker.log({TEST: 1.0}, step=10, epoch=2)
    (tmp_path / "first.safetensors").write_bytes(b"x")
    tracker.keep([tmp_path / "first.safetensors"])
    tracker.finish("finished", {})
    found, files = stored(uri, run), client(uri)
    (picture,) = files.list_artifacts(found.info.run_id, "pictures/confusion/first")
    assert picture.path == "pictures/confusion/first/epoch-2.png"
    (network,) = files.list_artifacts(found.info.run_id, "networks")
    assert network.path == "networks/first.safetensors"


@pytest.mark.slow
def test_jobs_that_begin_together_share_a_new_database(tmp_path: Path) -> None:
    """MLflow by itself fails: both jobs would make its tables."""
    code = (
        "import sys; from pathlib import Path; from mcl.tracking import MlflowTracker, RunInfo\n"
        "tracker = MlflowTracker('sqlite:///runs.db')\n"
        "tracker.start(RunInfo(Path(sys.argv[1]), 'a run', 'x', 4, 4, []))\n"
        "tracker.log({'train/total': 1.0}, step=1, epoch=1); tracker.finish('finished', {})"
    )
    environment = {**os.environ, "MCL_CACHE": str(tmp_path / "cache")}
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], cwd=tmp_path, env=environment)
        for name in ("one", "two")
    ]
    assert [job.wait() for job in jobs] == [0, 0]
    store = client(f"sqlite:///{tmp_path}/runs.db")
    assert len(store.search_runs([store.get_experiment_by_name("mcl").experiment_id])) == 2


@pytest.mark.slow
def test_a_database_is_made_where_none_is(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    database = "sqlite:///runs.db"
    attempt(database, make_run(), (TRAIN, 10), (TRAIN, 20))
    attempt(database, run := make_run(resumed_step=10, resumed_lines=1), (TRAIN, 20), (TRAIN, 30), status="finished")
    assert points(database, run, TRAIN) == [(10, 10.0), (20, 20.0), (30, 30.0)]
