"""Content of a run on W&B beside its rows: best values, media, gradients, the reason of a failure."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb
from support.fake_wandb import FakeWandb
from support.snapshots import make_snapshot
from support.wandb_files import Records, final_summary, history, logs, read_all

from mcl.errors import UserError
from mcl.tracking import LocalFiles, RunInfo, Trackers, WandbTracker
from mcl.tracking.tracker import Histogram

MakeRun = Callable[..., RunInfo]


@pytest.fixture(autouse=True)
def _alone(alone: None) -> None:
    """Every test here."""


def records_of(run: RunInfo) -> Records:
    (records,) = read_all(run.run_dir)
    return records


def test_best_values_are_in_the_summary_from_the_first_evaluation_on_and_over_resumes(make_run: MakeRun) -> None:
    accuracies = [(1, 50.0, 1.5), (2, 90.0, 0.5), (3, 70.0, 2.5)]
    for run, rows in ((make_run(), accuracies[:2]), (make_run(resumed_step=2, resumed_lines=2), accuracies[2:])):
        trackers = Trackers([LocalFiles(), WandbTracker(mode="offline")])
        trackers.start(run)
        for epoch, top1, loss in rows:
            metrics = {"test/first/backbone/top1": top1, "test/first/backbone/loss": loss, "test/ensemble/top1": top1}
            trackers.log(metrics, step=epoch, epoch=epoch)
        trackers.finish("failed", error=UserError("too hot"))
    first, second = read_all(run.run_dir)
    assert final_summary(first)["test/first/backbone/top1"] == {"max": 90, "last": 90}
    assert final_summary(first)["error"] == "too hot"
    summary = final_summary(second)
    assert summary["test/first/backbone/top1"] == {"max": 90, "last": 70}
    assert summary["test/first/backbone/loss"] == {"min": 0.5, "last": 2.5}
    assert (summary["first/top1_last"], summary["ensemble/top1_last"]) == (70, 70)
    axes = {record["metric"].get("name"): record["metric"] for record in second if record["type"] == "metric"}
    assert axes["test/first/backbone/top1"]["step_metric"] == "epoch"


def test_the_reason_of_an_earlier_failure_disappears_with_the_next_attempt(make_run: MakeRun) -> None:
    tracker = WandbTracker(mode="offline")
    tracker.start(run := make_run(resumed_step=2, resumed_lines=2))
    tracker.finish("finished", {})
    records = records_of(run)
    removed = [each["key"] for record in records for each in record.get("summary", {}).get("remove", [])]
    assert removed == ["error"]
    assert "error" not in final_summary(records)


def test_a_failed_run_has_its_reason_in_the_summary_the_logs_and_an_alert(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    run = make_run(overview=[("data", "digits"), ("device", "cpu")], notes=["a small batch"])
    with FakeWandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        tracker = WandbTracker()
        tracker.start(run)
        logging.getLogger("mcl.data").warning("two images are damaged")
        tracker.reached(7)
        tracker.finish("failed", error=RuntimeError("power cut"))
        wandb.teardown()
    (alert,) = server.alerts
    assert (alert["title"], alert["text"], alert["severity"]) == (
        "failed: a run",
        "RuntimeError: power cut",
        "ERROR",
    )
    summaries = [json.loads(each) for each in server.contents("wandb-summary.json")]
    assert summaries[-1]["error"] == "RuntimeError: power cut"
    lines = "\n".join(server.contents("output.log"))
    for text in (
        "data",
        "note: a small batch",
        "warning: two images are damaged",
        "RuntimeError: power cut",
        "at step 7 of",
    ):
        assert text in lines


def test_warnings_of_later_runs_are_not_in_the_logs_of_earlier_ones(make_run: MakeRun) -> None:
    tracker = WandbTracker(mode="offline")
    tracker.start(run := make_run())
    logging.getLogger("mcl").warning("during the run")
    tracker.finish("finished", {})
    logging.getLogger("mcl").warning("after the run")
    assert logs(records_of(run)) == ["warning: during the run"]


@pytest.mark.parametrize("classes", [3, 101])
def test_a_snapshot_is_pictures_with_captions_and_tables(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, classes: int
) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR")
    tracker = WandbTracker(mode="offline", pictures=1)
    tracker.start(run := make_run())
    tracker.snapshot(make_snapshot(classes))
    tracker.log({"test/ensemble/top1": 90.0}, step=5, epoch=3)
    tracker.log({"test/ensemble/top1": 91.0}, step=6, epoch=4)
    tracker.finish("finished", {})
    records = records_of(run)
    with_media, without = history(records)
    assert with_media["pictures/confusion/first.caption"] == "first: confusion on the test split, epoch 3"
    copies = artifact_files(records)
    assert all(copy.is_relative_to(run.run_dir / "wandb" / "data") for copy in copies.values())  # not the home folder
    table = json.loads(copies["tables/samples.table.json"].read_text())
    names = ("first predicted", "first confidence", "ensemble predicted", "ensemble confidence")
    assert table["columns"] == ["image", "true", *names]
    assert table["data"][1][1:] == ["class 1", "class 1", 0.75, "class 1", 0.75]
    assert table["data"][1][0]["caption"] == "true class 1, epoch 3"
    confusion = "charts/confusion/first_table" if classes == 3 else "tables/mistakes/first"
    table = json.loads(copies[f"{confusion}.table.json"].read_text())
    if classes == 3:
        assert len(table["data"]) == 9
        assert ["class 2", "class 0", 1] in table["data"]
        visualized = [record for record in records if "_wandb.visualize" in json.dumps(record.get("config", {}))]
        assert "wandb/confusion_matrix/v1" in json.dumps(visualized)
    else:
        assert table["data"] == [["class 5", "class 6", 1]]
    assert not any(name.startswith(("pictures/", "charts/", "tables/")) for name in without)


def artifact_files(records: Records) -> dict[str, Path]:
    """Return the local copies of the files of all artifacts."""
    manifests = [record["artifact"]["manifest"] for record in records if record["type"] == "artifact"]
    files = [content for manifest in manifests for content in manifest["contents"] if "local_path" in content]
    return {content["path"]: Path(content["local_path"]) for content in files}


def test_histograms_of_gradients_come_with_the_next_row(make_run: MakeRun) -> None:
    tracker = WandbTracker(mode="offline", gradients=2)
    tracker.start(run := make_run(total_epochs=5))
    assert [epoch for epoch in range(1, 6) if tracker.wants_gradients(run, epoch)] == [2, 4, 5]
    tracker.gradients({"first/stem": Histogram([1, 3], [-1.0, 0.0, 1.0])})
    tracker.log({"test/ensemble/top1": 90.0}, step=5, epoch=2)
    tracker.finish("finished", {})
    (row,) = history(records_of(run))
    assert row["gradients/first/stem.values"] == [1, 3]
    assert row["gradients/first/stem.bins"] == [-1, 0, 1]


def test_gradients_are_off_unless_asked_for(make_run: MakeRun) -> None:
    assert not any(WandbTracker().wants_gradients(make_run(), epoch) for epoch in range(1, 5))
    with pytest.raises(UserError, match=r"tracking\.wandb\.gradients=-1: epochs between two sets, or 0 for none"):
        WandbTracker(gradients=-1)


def test_a_dataset_leads_to_the_run_and_the_run_to_its_networks(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "first.safetensors").write_bytes(b"weights")
    facts = {"data": "1f5a09c2"}
    digests = []
    for root in ("/here", "/elsewhere"):
        run = make_run(
            run_dir=tmp_path / root.strip("/"),
            tags=("my photos", "mcl"),
            facts=facts,
            config={"dataset": {"root": root}},
        )
        tracker = WandbTracker(mode="offline", artifacts=True)
        tracker.start(run)
        tracker.log({"test/first/backbone/top1": 90.0}, step=5, epoch=3)
        tracker.keep([tmp_path / "first.safetensors"])
        tracker.finish("finished", {})
        dataset, model = (record["artifact"] for record in records_of(run) if record["type"] == "artifact")
        assert (dataset["name"], dataset["type"], dataset["use_after_commit"]) == ("data-my_photos", "dataset", True)
        assert json.loads(dataset["metadata"]) == {"fingerprint": "1f5a09c2", "root": root}
        digests.append(dataset["digest"])
        assert (model["name"], model["type"], sorted(model["aliases"])) == (
            "networks-0a1b2c3d",
            "model",
            ["best", "latest"],
        )
        assert "use_after_commit" not in model
        assert json.loads(model["metadata"])["best"] == {"test/first/backbone/top1": 90}
    assert digests[0] == digests[1]  # equal images are one version


def test_source_files_are_logged_when_asked_for(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_module.py").write_text("x = 1\n")
    tracker = WandbTracker(mode="offline", code=True)
    tracker.start(run := make_run(config={"allow_modules": ["own_module", "json"]}))
    tracker.finish("finished", {})
    (code,) = (record["artifact"] for record in records_of(run) if record["type"] == "artifact")
    assert (code["name"], code["type"]) == ("source-mcl", "code")
    paths = {content["path"] for content in code["manifest"]["contents"]}
    assert {"mcl/tracking/wandb.py", "mcl/__init__.py", "own_module.py", "json/decoder.py"} <= paths
    assert all(path.endswith(".py") for path in paths)
    assert all(copy.is_relative_to(run.run_dir / "wandb" / "data") for copy in artifact_files(records_of(run)).values())


def test_a_resumed_run_prints_the_link_of_its_first_attempt(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with FakeWandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        for run in (make_run(), make_run(resumed_step=2, resumed_lines=1)):
            tracker = WandbTracker()
            tracker.start(run)
            tracker.finish("interrupted")
            wandb.teardown()
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith(f"W&B: {server.url}/me/mcl/runs/0a1b2c3d-")
