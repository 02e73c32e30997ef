"""The event files of a run, read back as TensorBoard reads them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.snapshots import make_snapshot

from mcl import extras
from mcl.errors import UserError
from mcl.tracking import LocalFiles, RunInfo, TensorBoardTracker, Tracker, Trackers

pytest.importorskip("tensorboard")
MakeRun = Callable[..., RunInfo]
TRAIN, TEST = "train/total", "test/first/backbone/top1"


def read(run: RunInfo) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.run_dir / "tensorboard"))
    events.Reload()
    return events


def points(events: Any, name: str) -> list[tuple[int, float]]:
    return [(each.step, round(each.value, 3)) for each in events.Scalars(name)]


def attempt(run: RunInfo, *rows: tuple[str, int], summary: Any = None) -> None:
    """Log rows with their step as value, ten steps to an epoch."""
    trackers = Trackers([LocalFiles(), TensorBoardTracker(pictures=1)])
    trackers.start(run)
    for name, step in rows:
        trackers.log({name: float(step)}, step=step, epoch=step // 10)
    trackers.finish("finished" if summary else "interrupted", summary)


def test_metrics_settings_and_summary_are_in_the_files(make_run: MakeRun, summary: dict[str, Any]) -> None:
    run = make_run(config={"optimizer": {"lr": 0.5}, "seed": 7, "loss": {"_target_": "x"}}, overrides=["seed=7"])
    attempt(run, (TRAIN, 10), (TEST, 10), (TRAIN, 20), (TEST, 20), summary=summary)
    events = read(run)
    assert points(events, TRAIN) == points(events, TEST) == [(10, 10.0), (20, 20.0)]
    assert points(events, "epoch") == [(10, 1.0), (10, 1.0), (20, 2.0), (20, 2.0)]
    assert points(events, "summary/first/top1_best") == [(20, 93.5)]
    assert events.Tensors("status/text_summary")[0].tensor_proto.string_val == [b"finished"]
    assert events.Tensors("overrides/text_summary")[0].tensor_proto.string_val == [b"seed=7"]

    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    contents = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = HParamsPluginData.FromString(contents).session_start_info.hparams
    assert settings["optimizer.lr"].number_value == 0.5
    assert settings["loss._target_"].string_value == "x"


@pytest.mark.parametrize("evaluation_is_due", [False, True])
def test_a_resumed_run_has_every_point_once(make_run: MakeRun, evaluation_is_due: bool) -> None:
    rows = [(TRAIN, 10), (TEST, 10), (TRAIN, 20), (TEST, 20), (TRAIN, 30)]
    attempt(make_run(), *rows)
    kept = 3 if evaluation_is_due else 4  # a checkpoint at step 20
    resumed = {"resumed_step": 20, "resumed_lines": kept, "resumed_before_evaluation": evaluation_is_due}
    attempt(run := make_run(**resumed), *rows[kept:])
    assert len(list((run.run_dir / "tensorboard").iterdir())) == 2
    events = read(run)
    assert points(events, TRAIN) == [(10, 10.0), (20, 20.0), (30, 30.0)]
    assert points(events, TEST) == [(10, 10.0), (20, 20.0)]


def test_a_run_that_starts_over_withdraws_all_earlier_points(make_run: MakeRun) -> None:
    attempt(make_run(), (TRAIN, 10), (TRAIN, 20))
    attempt(run := make_run(), (TRAIN, 5))
    assert points(read(run), TRAIN) == [(5, 5.0)]


def test_pictures_come_with_the_evaluation(make_run: MakeRun) -> None:
    tracker = TensorBoardTracker(pictures=2)
    run = make_run()
    assert [epoch for epoch in range(1, 5) if tracker.wants_snapshot(run, epoch)] == [2, 4]
    tracker.start(run)
    tracker.log({"matching/first.stage1/second.backbone": 0.5}, step=20, epoch=2)
    tracker.snapshot(make_snapshot(3))
    tracker.log({TEST: 1.0}, step=20, epoch=2)
    tracker.log({TEST: 1.0}, step=30, epoch=3)
    tracker.finish("failed", error=UserError("too hot"))
    events = read(run)
    assert {"pictures/confusion/first", "pictures/matching/first-second", "pictures/samples"} <= set(
        events.Tags()["images"]
    )
    (image,) = events.Images("pictures/samples")
    assert image.step == 20
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert events.Tensors("status/text_summary")[0].tensor_proto.string_val == [b"failed: too hot"]


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tracker: str) -> None:
    from mcl.tracking import MlflowTracker

    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    make: type[Tracker] = {"tensorboard": TensorBoardTracker, "mlflow": MlflowTracker}[tracker]
    with pytest.raises(
        UserError, match=rf"tracking={tracker}: needs {tracker}\. Install it with: pip install '{tracker}>="
    ):
        make()


def test_negative_pictures_are_refused() -> None:
    with pytest.raises(UserError, match=r"tracking\.tensorboard\.pictures=-1: epochs between two sets"):
        TensorBoardTracker(pictures=-1)


def test_it_is_imported_only_when_asked_for(tmp_path: Path) -> None:
    import subprocess
    import sys

    slow = ("tensorboard", "mlflow", "torch", "numpy", "PIL")
    code = f"import sys, mcl.tracking; print([name for name in {slow} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
