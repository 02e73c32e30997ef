import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcl.tracking import Background, LocalFiles, RunInfo, Status, Tracker, Trackers
from mcl.tracking import background as module
from mcl.tracking.tracker import IncompleteTracking

MakeRun = Callable[..., RunInfo]


class Recorder(Tracker):
    """Record all calls; ``log`` waits for the gate, if there is one."""

    name = "recorder"

    def __init__(self, gate: threading.Event | None = None, fails_at: int | None = None) -> None:
        self.gate, self.fails_at = gate, fails_at
        self.calls: list[Any] = []

    def start(self, run: RunInfo) -> None:
        self.calls.append("start")

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        if self.gate is not None:
            self.gate.wait()
        if step == self.fails_at:
            raise OSError("disk\n  full")  # as those of pydantic, on several lines
        self.calls.append(step)

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        self.calls.append(status)


def test_training_waits_for_trackers_only_at_its_end(make_run: MakeRun) -> None:
    gate = threading.Event()
    recorder = Recorder(gate)
    tracker = Background(recorder)
    tracker.start(make_run())
    for step in range(3):
        tracker.log({"train/total": 1.0}, step=step, epoch=1)  # returns although the gate is closed
    assert not any(isinstance(call, int) for call in recorder.calls)
    gate.set()
    tracker.finish("finished", {})
    assert recorder.calls == ["start", 0, 1, 2, "finished"]


def test_failing_tracker_warns_once_and_others_continue(make_run: MakeRun, caplog: pytest.LogCaptureFixture) -> None:
    run, recorder = make_run(), Recorder(fails_at=2)
    background = Background(recorder)
    trackers = Trackers([LocalFiles(), background])
    with caplog.at_level(logging.WARNING):
        trackers.start(run)
        for step in range(1, 6):
            trackers.log({"train/total": 1.0}, step=step, epoch=1)
            if step == 2 and background._thread is not None:
                background._thread.join(10)
        trackers.finish("finished", {})
    assert recorder.calls == ["start", 1]
    assert [record.getMessage() for record in caplog.records] == [
        "recorder is switched off, training continues. It failed with OSError: disk full. It lacks all rows from step 2"
        " on; metrics.jsonl has them."
    ]
    assert len((run.run_dir / "metrics.jsonl").read_text().splitlines()) == 5
    assert (run.run_dir / "summary.json").is_file()


def test_hanging_tracker_is_abandoned(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
    gate = threading.Event()
    trackers = Trackers([Background(Recorder(gate))])
    trackers.start(make_run())
    for step in (10, 20, 1000):
        trackers.log({"train/total": 1.0}, step=step, epoch=1)
    trackers.finish("finished", {})
    gate.set()
    assert [record.getMessage() for record in caplog.records] == [
        "recorder did not finish. No progress for 0.01 s. It lacks 3 rows from step 10 to step 1,000; metrics.jsonl has"
        " them."
    ]


def test_the_end_waits_for_a_slow_tracker_and_says_what_is_left(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: Any
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 5.0)  # for each call; all of them together take longer than one
    monkeypatch.setattr(module, "FIRST_LINE_SECONDS", 0.02)
    monkeypatch.setattr(module, "LINE_SECONDS", 0.02)

    class Slow(Recorder):
        def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
            time.sleep(0.05)
            super().log(metrics, step=step, epoch=epoch)

    slow = Slow()
    trackers = Trackers([Background(slow)])
    trackers.start(make_run())
    for step in range(6):
        trackers.log({"train/total": 1.0}, step=step, epoch=1)
    trackers.finish("finished", {})
    assert slow.calls == ["start", *range(6), "finished"]
    assert caplog.records == []
    lines = capsys.readouterr().out.splitlines()
    assert "recorder: 6 rows left to write" in lines
    assert "recorder: 1 row left to write" in lines


def test_an_interrupt_at_the_end_names_what_is_lost_and_waits_no_more(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    tracker = Background(Recorder(gate))
    tracker.start(make_run())
    tracker.log({"train/total": 1.0}, step=7, epoch=1)
    assert tracker._thread is not None

    def interrupt(timeout: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracker._thread, "join", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tracker.finish("finished", {})
    assert "recorder: interrupted before its end. It lacks 1 row of step 7" in caplog.text
    tracker.finish("interrupted")  # returns at once, although the gate is closed
    gate.set()


def test_slow_tracker_is_switched_off(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    gate = threading.Event()
    trackers = Trackers([Background(Recorder(gate))])
    trackers.start(make_run())
    for step in range(5):
        trackers.log({"train/total": 1.0}, step=step, epoch=1)
    gate.set()
    assert not trackers
    assert caplog.text.count("It is 2 calls behind training. It lacks all rows from step 0 on;") == 1


@pytest.mark.parametrize("waiting", [2, 3])
def test_end_does_not_wait_for_the_full_queue_of_a_hanging_tracker(
    waiting: int, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
    gate, begun = threading.Event(), threading.Event()
    recorder = Recorder(gate)
    monkeypatch.setattr(recorder, "start", lambda run: begun.set() or gate.wait())
    tracker = Background(recorder)
    tracker.start(make_run())
    assert begun.wait(10)
    for step in range(waiting):
        tracker.log({"train/total": 1.0}, step=step, epoch=1)
    ended: list[BaseException] = []

    def finish() -> None:
        try:
            tracker.finish("finished", {})
        except IncompleteTracking as error:
            ended.append(error)

    thread = threading.Thread(target=finish, daemon=True)
    thread.start()
    thread.join(10)
    assert len(ended) == 1
    assert str(ended[0]).startswith(f"No progress for 0.01 s. It lacks {waiting} rows from step 0 to step ")
    gate.set()
    assert tracker._thread is not None
    tracker._thread.join(10)
    assert recorder.calls == [*range(waiting), "finished"]  # waiting calls are made as long as the process lives


def test_tracker_that_never_started_finishes_at_once(tmp_path: Path) -> None:
    recorder = Recorder()
    Background(recorder).finish("failed")
    assert recorder.calls == []


def test_every_call_of_a_tracker_is_forwarded() -> None:
    methods = {name for name, member in vars(Tracker).items() if callable(member) and not name.startswith("_")}
    assert methods - vars(Background).keys() == {"abandon"}  # which Background calls itself
