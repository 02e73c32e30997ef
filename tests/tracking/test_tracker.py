import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from mcl.errors import UserError
from mcl.tracking import RunInfo, Snapshot, Status, Tracker, Trackers


class Recorder(Tracker):
    name = "recorder"

    def __init__(self, fail_in: str = "", error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.fail_in = fail_in
        self.error = error or RuntimeError("no route to host")

    def _call(self, method: str) -> None:
        self.calls.append(method)
        if method == self.fail_in:
            raise self.error

    def start(self, run: RunInfo) -> None:
        self._call("start")

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        self._call("log")

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        self._call("finish")


class Looker(Recorder):
    def __init__(self, wants: bool, error: Exception | None = None) -> None:
        super().__init__()
        self.wants, self.looked, self.wants_error = wants, False, error

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        if self.wants_error is not None:
            raise self.wants_error
        return self.wants

    def snapshot(self, snapshot: Snapshot) -> None:
        self.looked = True


class Required(Recorder):
    name = "required"
    required = True


def play(trackers: Trackers, run: RunInfo) -> None:
    trackers.start(run)
    trackers.log({"train/total": 1.0}, step=1, epoch=1)
    trackers.log({"train/total": 0.5}, step=2, epoch=1)
    trackers.finish("finished", {})


@pytest.mark.parametrize("method", ["start", "log", "finish"])
def test_tracker_that_fails_is_switched_off_with_one_warning(
    make_run: Callable[..., RunInfo], caplog: pytest.LogCaptureFixture, method: str
) -> None:
    failing, sound = Recorder(fail_in=method), Recorder()
    with caplog.at_level(logging.WARNING):
        play(Trackers([failing, sound]), make_run())
    assert failing.calls[-1] == method
    assert failing.calls.count(method) == 1
    assert sound.calls == ["start", "log", "log", "finish"]
    (record,) = caplog.records
    assert "recorder" in record.getMessage()
    assert "RuntimeError: no route to host" in record.getMessage()


def test_error_of_a_required_tracker_is_raised_after_all_were_called(make_run: Callable[..., RunInfo]) -> None:
    required, other = Required("log", UserError("disk full")), Recorder()
    trackers = Trackers([required, other])
    trackers.start(make_run())
    with pytest.raises(UserError, match="disk full"):
        trackers.log({}, step=1, epoch=1)
    trackers.finish("failed")
    assert required.calls == other.calls == ["start", "log", "finish"]


def test_only_trackers_that_want_a_snapshot_get_one(make_run: Callable[..., RunInfo]) -> None:
    wants, other, broken = Looker(True), Looker(False), Looker(True, RuntimeError("no"))
    trackers = Trackers([wants, other, broken])
    trackers.start(make_run())
    assert trackers.wants_snapshot(1)
    trackers.snapshot(Snapshot([], torch.empty(0), {}, torch.empty(0), torch.empty(0), {}, {}))
    assert [looker.looked for looker in (wants, other, broken)] == [True, False, False]
    assert trackers == [wants, other]
