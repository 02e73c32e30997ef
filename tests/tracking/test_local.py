import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mcl.errors import UserError
from mcl.runs import writer
from mcl.runs.summary import metrics_checksum, with_checksum
from mcl.tracking import LocalFiles, RunInfo
from mcl.tracking.tracker import Snapshot

MakeRun = Callable[..., RunInfo]


def steps(run: RunInfo) -> list[int]:
    return [json.loads(line)["step"] for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]


def train(tracker: LocalFiles, run: RunInfo, until: int) -> None:
    """Log every step from the resumed one on, with an evaluation every second step."""
    tracker.start(run)
    for step in range(run.resumed_step + 1, until + 1):
        tracker.log({"train/total": step / 3}, step=step, epoch=1)
        if step % 2 == 0:
            tracker.log({"test/first/backbone/top1": 50.0 + step}, step=step, epoch=1)


def test_each_line_is_on_disk_when_log_returns(make_run: MakeRun) -> None:
    run, tracker = make_run(), LocalFiles()
    tracker.start(run)
    tracker.log({"train/total": 1 / 3, "train/lr": 0.1}, step=5, epoch=2)
    (line,) = (run.run_dir / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row.pop("time") >= 0
    assert row == {"step": 5, "epoch": 2, "train/total": 1 / 3, "train/lr": 0.1}


def test_numbers_that_are_not_finite_are_null(make_run: MakeRun, summary: dict[str, Any]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    run, tracker = make_run(), LocalFiles()
    tracker.start(run)
    tracker.log({"train/total": math.nan, "train/vcl": -math.inf}, step=1, epoch=1)
    summary["networks"][0]["top1_last"] = math.nan
    tracker.finish("finished", summary)
    row = json.loads((run.run_dir / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert row["train/total"] is None
    assert row["train/vcl"] is None
    result = json.loads((run.run_dir / "summary.json").read_text(), parse_constant=refuse)
    assert result["networks"][0]["top1_last"] is None
    assert result["networks"][1]["top1_last"] == 92.0


def test_resumed_run_has_no_missing_or_repeated_lines(make_run: MakeRun) -> None:
    run = make_run()
    train(LocalFiles(), run, until=7)
    train(LocalFiles(), make_run(resumed_step=4), until=8)
    assert steps(run) == [1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8]


def test_torn_last_line_is_repaired(make_run: MakeRun) -> None:
    run = make_run()
    train(LocalFiles(), run, until=4)
    with open(run.run_dir / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 4, "epoch": 1, "ti')
    train(LocalFiles(), make_run(resumed_step=4), until=5)
    assert steps(run) == [1, 2, 2, 3, 4, 4, 5]


def test_last_line_without_newline_is_kept(make_run: MakeRun) -> None:
    run = make_run()
    train(LocalFiles(), run, until=3)
    path = run.run_dir / "metrics.jsonl"
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    train(LocalFiles(), make_run(resumed_step=3), until=4)
    assert steps(run) == [1, 2, 2, 3, 4, 4]


def test_run_that_starts_over_starts_an_empty_file(make_run: MakeRun) -> None:
    run = make_run()
    train(LocalFiles(), run, until=6)
    train(LocalFiles(), make_run(resumed_step=0), until=1)
    assert steps(run) == [1]


def test_interrupted_truncation_loses_nothing(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    train(LocalFiles(), run, until=6)
    before = (run.run_dir / "metrics.jsonl").read_bytes()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        LocalFiles().start(make_run(resumed_step=2))
    assert (run.run_dir / "metrics.jsonl").read_bytes() == before


def test_time_continues_across_attempts(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(writer, "monotonic", lambda: now)
    run, tracker = make_run(), LocalFiles()
    tracker.start(run)
    for step in (1, 2, 3):
        now += 10
        tracker.log({}, step=step, epoch=1)
    now = 5000.0  # another process, later
    tracker = LocalFiles()
    tracker.start(make_run(resumed_step=2))
    now += 4
    tracker.log({}, step=3, epoch=1)
    rows = [json.loads(line) for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["time"] for row in rows] == [10, 20, 24]


def test_summary_marks_the_run_finished_and_removes_the_failure(make_run: MakeRun, summary: dict[str, Any]) -> None:
    run, tracker = make_run(), LocalFiles()
    train(tracker, run, until=3)
    tracker.finish("failed", error=RuntimeError("out of memory"))
    failure = json.loads((run.run_dir / "failure.json").read_text())
    assert failure.pop("time") >= 0
    assert failure == {"status": "failed", "error": "RuntimeError", "message": "out of memory", "step": 3}
    assert not (run.run_dir / "summary.json").exists()

    train(tracker, make_run(resumed_step=2), until=4)
    tracker.finish("finished", summary)
    assert json.loads((run.run_dir / "summary.json").read_text()) == with_checksum(
        {**summary, "metrics": metrics_checksum(run.run_dir)}
    )
    assert not (run.run_dir / "failure.json").exists()


def test_run_that_starts_over_no_longer_counts_as_finished(make_run: MakeRun, summary: dict[str, Any]) -> None:
    run, tracker = make_run(), LocalFiles()
    train(tracker, run, until=3)
    tracker.finish("finished", summary)
    tracker.start(run)
    assert not (run.run_dir / "summary.json").exists()
    tracker.finish("interrupted", error=KeyboardInterrupt())
    assert json.loads((run.run_dir / "failure.json").read_text())["status"] == "interrupted"


def test_full_disk_raises_user_error(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run, tracker = make_run(), LocalFiles()
    tracker.start(run)

    def disk_full(descriptor: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", disk_full)
    with pytest.raises(UserError, match=r"metrics\.jsonl: No space left.*Free some space"):
        tracker.log({}, step=1, epoch=1)


def test_full_disk_at_the_end_is_the_recorded_reason(
    make_run: MakeRun, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, tracker = make_run(), LocalFiles()
    train(tracker, run, until=4)

    def disk_full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", disk_full)
        with pytest.raises(UserError, match=r"summary\.json: No space left") as failure:
            tracker.finish("finished", summary)
    tracker.finish("failed", summary, failure.value)  # as the run does
    assert "summary.json: No space left" in json.loads((run.run_dir / "failure.json").read_text())["message"]


def test_line_written_in_several_parts_is_complete(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run, tracker = make_run(), LocalFiles()
    tracker.start(run)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:7]))
    tracker.log({"train/total": 1.5}, step=1, epoch=1)
    assert json.loads((run.run_dir / "metrics.jsonl").read_text())["train/total"] == 1.5


def test_run_folder_that_cannot_be_created_raises_user_error(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    tracker = LocalFiles()
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        tracker.start(make_run(run_dir=tmp_path / "file" / "run"))
    tracker.finish(
        "failed", error=UserError("cannot write")
    )  # as the entry point will: nothing to close, no second error


def test_continued_run_replaces_the_evaluation_of_its_earlier_end(make_run: MakeRun) -> None:
    run = make_run()
    folder = run.run_dir / "evaluation" / "test"
    folder.mkdir(parents=True)
    for name in ("evaluation.json", "scores.json", "per_class.csv", "confusion-ensemble.png", "notes.txt"):
        (folder / name).write_text("of an earlier end")
    tracker = LocalFiles()
    tracker.start(run)
    labels, nothing = torch.tensor([0, 1]), torch.empty(0)
    tracker.snapshot(Snapshot(["cat", "dog"], labels, {"ensemble": labels}, nothing, nothing, {}, {}))
    assert sorted(file.name for file in folder.iterdir()) == ["confusion-ensemble.csv", "notes.txt"]
