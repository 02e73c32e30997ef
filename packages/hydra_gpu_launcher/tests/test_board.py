"""The display of a queue of jobs."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.small_jobs import QueueResult, a_job, sweep_of
from rich.console import Console

from mcl.console import make_console
from mcl.runs.progress_estimate import read_progress

Run = Callable[..., QueueResult]


def write(folder: Path, *lines: dict[str, float]) -> Path:
    file = folder / "metrics.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def train(step: int, epoch: int, time: float) -> dict[str, float]:
    return {"step": step, "epoch": epoch, "time": time, "train/total": 1.0}


def test_progress_counts_epochs_until_an_evaluation_shows_their_length(tmp_path: Path) -> None:
    def done(*lines: dict[str, float], epochs: int | None = 10, max_steps: int | None = None) -> float | None:
        progress = read_progress(write(tmp_path, *lines), epochs, max_steps)
        return progress and progress.done

    assert done() is None
    assert done(train(15, 1, 2.0)) == 0.0
    assert done(train(15, 3, 2.0)) == 0.2
    evaluated = {"step": 20, "epoch": 2, "time": 3.0, "test/ensemble/top1": 50.0}
    assert done(train(15, 2, 2.0), evaluated) == 0.2
    assert done(evaluated, train(35, 4, 4.0)) == 0.35
    assert done(evaluated, train(35, 4, 4.0), max_steps=70) == 0.5
    assert done(train(35, 4, 4.0), epochs=None, max_steps=70) == 0.5
    assert done(evaluated, train(200, 20, 4.0)) == 1.0
    assert done(train(35, 4, 4.0), epochs=None) is None


def test_time_left_follows_from_the_clock_of_the_run(tmp_path: Path) -> None:
    progress = read_progress(write(tmp_path, train(25, 3, 100.0)), 10, 100)
    assert progress is not None
    assert progress.left == pytest.approx(300.0, abs=20.0)


def test_torn_lines_and_lines_of_an_earlier_attempt_do_not_count(tmp_path: Path) -> None:
    file = write(tmp_path, train(10, 1, 1.0)) / "metrics.jsonl"
    with open(file, "a") as opened:
        opened.write('{"step": 90, "ep')
    progress = read_progress(tmp_path, None, 100)
    assert progress is not None
    assert progress.done == 0.1
    assert read_progress(tmp_path, None, 100, since=file.stat().st_mtime + 1.0) is None
    assert read_progress(tmp_path / "nowhere", None, 100) is None


def test_without_a_terminal_every_event_is_a_line(run: Run, tmp_path: Path) -> None:
    jobs = [a_job(tmp_path / "good", varied="seed=0"), a_job(tmp_path / "bad", "raise=no luck", varied="seed=1")]
    lines = [line.strip() for line in run(jobs, devices=[0], retries=1).printed.splitlines()]
    assert lines[0] == "2 jobs; on GPU 0"
    events = [line.partition("  ")[2] for line in lines[1 : lines.index("")]]
    assert events[0] == "started  good  seed=0  on GPU 0"
    assert events[1].startswith("done     good  seed=0  in 0:0")
    assert events[1].endswith(", top-1 91.50")
    assert events[3] == "failed   bad  seed=1  exit 1: RuntimeError: no luck; again later"
    assert events[4] == "started  bad  seed=1  on GPU 0 (attempt 2)"
    assert events[5].startswith("failed   bad  seed=1  exit 1: RuntimeError: no luck; see /")
    assert lines[-1].startswith("2 jobs: 1 done, 1 failed in 0:0")
    table = lines[lines.index("") :]
    assert any(line.split()[:2] == ["seed=0", "done"] and "91.50" in line and "good/job.log" in line for line in table)
    assert any("failed (2 attempts)" in line and "bad/job.log" in line for line in table)
    assert "exit 1: RuntimeError: no luck" in table


def test_terminal_shows_one_table_in_place(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydra_gpu_launcher.board.REFRESH_SECONDS", 0.0)
    job = a_job(tmp_path / "a", "sleep=0.3", varied="seed=0", max_steps=4)
    job.folder.mkdir()
    metrics = write(job.folder, train(3, 1, 9.0)) / "metrics.jsonl"
    os.utime(metrics, (2e9, 2e9))  # newer than the attempt
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None, legacy_windows=False)
    sweep_of([job], screen).run()
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "seed=0  a   GPU 0   0:00" in shown
    assert "75%" in shown
    assert "1 job: 1 running" in shown
    assert "started" not in shown
    assert shown.rstrip().endswith("1 job: 1 done in 0:00") or "1 job: 1 done in 0:0" in shown


def test_console_that_lacks_a_character_replaces_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job(tmp_path / "a", "raise=no luck│\udcff", name="é\udcff")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", errors="strict"))
    sweep = sweep_of([job], make_console())
    sweep.run()
    assert [outcome.status for outcome in sweep.outcomes] == ["failed"]
    assert "failed   ??  exit 1: RuntimeError: no luck?" in written.getvalue().decode()
    assert os.fsencode("no luck│\udcff") in job.log.read_bytes(), "the command as typed"


def test_closed_terminal_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    sweep = sweep_of([a_job(tmp_path / "a")], Console(file=Gone(), width=100))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    sweep.run()
    assert [outcome.status for outcome in sweep.outcomes] == ["done"]
