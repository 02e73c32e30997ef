"""Complete runs, read back from the files of W&B."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.drawings import _undrawn  # noqa: F401 - a fixture
from support.small_runs import META, SMALL, during_step, small  # noqa: F401 - fixtures
from support.wandb_files import final_summary, history, logs, read_all, run_ids

TWO_STEPS = [*SMALL, *META, "trainer.max_steps=2", "trainer.log_every=1"]
TRAIN = Path(__file__).parents[2] / "train.py"
SECONDS = 300.0  # for a machine that is busy otherwise


@pytest.fixture(autouse=True)
def _offline(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCL_GROUP", raising=False)


def begun(records: list[dict[str, Any]]) -> dict[str, Any]:
    (begin,) = [record["run"] for record in records if record["type"] == "run"]
    return begin


def exit_codes(records: list[dict[str, Any]]) -> list[int]:
    return [record["exit"].get("exit_code", 0) for record in records if record["type"] == "exit"]


def test_default_run_logs_everything_offline(command: Callable[..., Any]) -> None:
    done = command(*TWO_STEPS, "hydra.run.dir=run")
    assert done.status == 0, done.err
    assert done.err == ""
    assert done.out.count("W&B: offline") == 1
    (records,) = read_all(Path("run"))
    assert "error" not in final_summary(records)
    shown = [line.rstrip() for line in done.out.splitlines() if line.startswith(("epoch ", "  loss ", "resnet8 "))]
    assert shown
    assert not {line for line in shown if line.partition("images/s")[0] not in "\n".join(logs(records))}
    before_the_first_row = records[: [record["type"] for record in records].index("history")]
    known = final_summary(before_the_first_row)
    assert known["device"].startswith("cpu (")
    assert known["first/parameters"] == final_summary(records)["first/parameters"] > 1000
    assert not any(name.startswith("gradients/") for row in history(records) for name in row)
    begin = begun(records)
    assert begin["display_name"].startswith("synthetic/resnet8/lmcl seed=0 dataset.image_size=8 ")
    assert sorted(begin["tags"]) == ["lmcl", "resnet8", "synthetic"]
    assert begin["job_type"] == "train"
    assert "run_group" not in begin
    config = begin["config"]["update"]
    assert config["trainer"]["max_steps"] == 2
    assert "trainer.max_steps=2" in config["overrides"]
    assert "commit" in config["code"]
    *training, evaluated = history(records)
    assert [(row["_step"], row["step"], row["epoch"]) for row in training] == [(0, 1, 1), (1, 2, 1)]
    for row in training:
        assert {"train/total", "train/vcl", "train/weighted/vcl", "train/lr", "train/grad_norm"} <= row.keys()
        assert {"train/images_per_second", "train/top1/second", "matching/first.stage1/second.backbone"} <= row.keys()
        assert row["train/grad_norm"] > 0
    assert "meta/outer_loss" in training[0]
    assert {"test/first/stage1/top1", "test/second/aggregated/loss", "test/ensemble/top1"} <= evaluated.keys()
    assert not any(name.startswith("pictures/") for row in training for name in row)
    assert any(name.startswith("pictures/samples") for name in evaluated)  # although the end breaks an epoch off
    summary = final_summary(records)
    assert {"first/top1_last", "first/top1_best", "second/top1_last", "multiply_adds/total"} <= summary.keys()
    assert exit_codes(records) == [0]
    lines = Path("run/evaluation/test/confusion-first-backbone.csv").read_text().splitlines()[1:]
    counts = [[int(count) for count in line.split(",")[1:]] for line in lines]
    right = sum(row[label] for label, row in enumerate(counts))
    assert 100 * right / sum(map(sum, counts)) == pytest.approx(summary["first/top1_last"])


@pytest.mark.drawn
def test_secrets_reach_no_tracker(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(".")
    Path("own_tracker.py").write_text(
        "import mcl.tracking\n\n"
        "class Mine(mcl.tracking.Tracker):\n"
        "    name = 'mine'\n"
        "    def __init__(self, token: str): ...\n"
        "    def start(self, run): ...\n"
        "    def log(self, metrics, *, step, epoch): ...\n"
        "    def finish(self, status, summary=None, error=None): ...\n"
    )
    own = ["+tracking.mine._target_=own_tracker.Mine", "+tracking.mine.token=Hunter2", "allow_modules=[own_tracker]"]
    done = command(*TWO_STEPS, *own, "hydra.run.dir=run")
    assert done.status == 0, done.err
    (records,) = read_all(Path("run"))
    assert begun(records)["config"]["update"]["tracking"]["mine"]["token"] == "***"
    assert "Hunter2" not in str(records)


def test_pictures_come_with_the_evaluation_and_exported_networks_as_an_artifact(command: Callable[..., Any]) -> None:
    tracking = [f"tracking.wandb.{option}" for option in ("pictures=1", "gradients=1", "artifacts=true")]
    options = [*tracking, "trainer.export=safetensors"]
    done = command(*TWO_STEPS, *options, "hydra.run.dir=run")
    assert done.status == 0, done.err
    (records,) = read_all(Path("run"))
    evaluated = history(records)[-1]
    wanted = ["confusion/first", "confusion/second", "confusion/ensemble", "matching/first-second", "samples"]
    for name in wanted:
        assert evaluated[f"pictures/{name}.caption"].endswith(", epoch 1")
    for name in ("charts/confusion/first_table", "charts/confusion/ensemble_table", "tables/samples"):
        assert evaluated[f"{name}._type"] == "table-file"
    for part in ("first/stem", "first/stage1", "second/head", "second/branches", "loss"):
        assert evaluated[f"gradients/{part}._type"] == "histogram"
        assert sum(evaluated[f"gradients/{part}.values"]) > 0
    assert len(list(Path("run/wandb").glob("offline-run-*/files/media/images/pictures/**/*.png"))) == len(wanted)
    artifacts = [record["artifact"] for record in records if record["type"] == "artifact"]
    (artifact,) = [each for each in artifacts if each["type"] == "model"]
    assert artifact["name"].startswith("networks-")
    artifact_files = [Path(content["local_path"]) for content in artifact["manifest"]["contents"]]
    assert sorted(artifact_files) == sorted(Path("run/export").absolute().glob("*.safetensors"))


def test_stopped_run_resumes_under_the_same_id(
    small: Callable[..., Any],  # noqa: F811
    during_step: Callable[..., None],  # noqa: F811
) -> None:
    during_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("run").status == 75
    assert small("run").status == 0
    stopped, finished = read_all(Path("run"))
    assert run_ids(stopped) == run_ids(finished)
    assert (exit_codes(stopped), exit_codes(finished)) == ([255], [0])
    rows = [[(row["_step"], row["step"]) for row in history(records)] for records in (stopped, finished)]
    assert rows[0][-1][0] + 1 == rows[1][0][0]
    lines = Path("run/metrics.jsonl").read_text().splitlines()
    assert [row for row, _ in [*rows[0], *rows[1]]] == list(range(len(lines)))


def test_a_stopped_and_resumed_run_has_each_row_once_in_every_tracker(
    small: Callable[..., Any],  # noqa: F811
    during_step: Callable[..., None],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    mlflow = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(uri := (tmp_path / "store").as_uri())
    options = ["tracking=[tensorboard,mlflow]", f"tracking.mlflow.uri={uri}", "loss=independent"]
    during_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("run", *options).status == 75
    assert small("run", *options).status == 0
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    events = accumulator.EventAccumulator("run/tensorboard").Reload()
    run_id = Path("run/mlflow/run_id").read_text().strip()
    for name in ("train/total", "test/ensemble/top1"):
        expected = [(line["step"], pytest.approx(line[name])) for line in lines if name in line]
        assert [(point.step, point.value) for point in events.Scalars(name)] == expected
        assert [(point.step, point.value) for point in client.get_metric_history(run_id, name)] == expected
    assert client.get_run(run_id).info.status == "FINISHED"


def test_failed_run_is_marked_failed(
    small: Callable[..., Any],  # noqa: F811
    during_step: Callable[..., None],  # noqa: F811
) -> None:
    def fail() -> None:
        raise RuntimeError("power cut")

    during_step(2, fail)
    with pytest.raises(RuntimeError, match="power cut"):
        small("run")
    (records,) = read_all(Path("run"))
    assert exit_codes(records) == [1]
    assert final_summary(records)["error"] == "RuntimeError: power cut"
    lines = logs(records)
    assert lines[0].startswith("data ")
    assert any(line.startswith("device ") for line in lines)
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "RuntimeError: power cut"


@pytest.mark.slow
def test_unreachable_server_warns_once_and_training_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    command = [sys.executable, TRAIN, *TWO_STEPS, "hydra.run.dir=run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0
    assert done.stderr == "W&B: http://127.0.0.1:9 cannot be reached, so this run is written offline.\n"
    assert Path("run/summary.json").is_file()
    (records,) = read_all(Path("run"))
    assert exit_codes(records) == [0]


def test_four_jobs_in_one_process_are_four_runs_of_one_group(command: Callable[..., Any]) -> None:
    done = command("-m", *TWO_STEPS, "seed=0,1,2,3")
    assert done.status == 0, done.err
    _four_of_one_group()


@pytest.mark.slow
def test_four_jobs_at_a_time_are_four_runs_of_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    launcher = ["hydra/launcher=gpus", "hydra.launcher.devices=cpu", "hydra.launcher.per_gpu=4"]
    subprocess.run([sys.executable, TRAIN, "-m", *TWO_STEPS, *launcher, "seed=0,1,2,3"], check=True, timeout=SECONDS)
    _four_of_one_group()


def _four_of_one_group() -> None:
    runs = [begun(records) for folder in Path("runs").glob("*/*/*/*") for records in read_all(folder)]
    assert len({run["run_id"] for run in runs}) == len(runs) == 4
    (group,) = {run["run_group"] for run in runs}
    assert group.startswith("seed=0,1,2,3 dataset=synthetic ")
    assert sorted(run["display_name"] for run in runs) == ["seed=0", "seed=1", "seed=2", "seed=3"]
    assert not list(Path("runs").rglob("media"))  # pictures
