"""How far a run is from its end."""

import json
from pathlib import Path

import pytest

from mcl.runs.progress_estimate import read_progress


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


def test_an_evaluation_before_the_first_step_says_nothing_of_the_length(tmp_path: Path) -> None:
    evaluated = {"step": 0, "epoch": 1, "time": 0.5, "test/ensemble/top1": 10.0}
    assert read_progress(write(tmp_path, evaluated), 10, None) == (0.0, None)
