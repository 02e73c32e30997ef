"""The display of a queue of jobs."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.small_jobs import QueueResult, a_job, sweep_of
from rich.console import Console

from hydra_gpu_launcher.board import Board, Score, final_table
from hydra_gpu_launcher.console import make_console
from hydra_gpu_launcher.job import Outcome

Run = Callable[..., QueueResult]


def test_without_a_terminal_every_event_is_a_line(run: Run, tmp_path: Path) -> None:
    jobs = [a_job(tmp_path / "good", varied="seed=0"), a_job(tmp_path / "bad", "raise=no luck", varied="seed=1")]
    lines = [line.strip() for line in run(jobs, devices=[0], retries=1).printed.splitlines()]
    assert lines[0] == "2 jobs; on GPU 0"
    events = [line.partition("  ")[2] for line in lines[1 : lines.index("")]]
    assert events[0] == "started  good  seed=0  on GPU 0"
    assert events[1].startswith("done     good  seed=0  in 0:0")
    assert events[1].endswith(", value 91.5")
    assert events[3] == "failed   bad  seed=1  exit 1: RuntimeError: no luck; again later"
    assert events[4] == "started  bad  seed=1  on GPU 0 (attempt 2)"
    assert events[5].startswith("failed   bad  seed=1  exit 1: RuntimeError: no luck; see /")
    assert lines[-1].startswith("2 jobs: 1 done, 1 failed in 0:0")
    table = lines[lines.index("") :]
    assert any(line.split()[:2] == ["seed=0", "done"] and "91.5" in line and "good/job.log" in line for line in table)
    assert any("failed (2 attempts)" in line and "bad/job.log" in line for line in table)
    assert "exit 1: RuntimeError: no luck" in table


def test_terminal_shows_one_table_in_place(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydra_gpu_launcher.board.REFRESH_SECONDS", 0.0)
    job = a_job(tmp_path / "a", "sleep=0.3", varied="seed=0")
    job.folder.mkdir()
    (job.folder / "progress").write_text("0.75")
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None, legacy_windows=False)
    sweep_of([job], screen).run()
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "seed=0  a   GPU 0   0:00" in shown
    assert "75%" in shown
    assert "1 job: 1 running" in shown
    assert "started" not in shown
    assert shown.rstrip().endswith("1 job: 1 done in 0:00") or "1 job: 1 done in 0:0" in shown


@pytest.mark.parametrize("more", [False, True])
def test_time_left_is_estimated_unless_further_jobs_may_follow(
    more: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydra_gpu_launcher.board.REFRESH_SECONDS", 0.0)
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None, legacy_windows=False)
    board = Board(screen)
    outcomes = [Outcome(a_job(tmp_path / "a"), "done", seconds=60.0), Outcome(a_job(tmp_path / "b"))]
    board.begin(outcomes, ["GPU 0"], more=more)
    board.update({})
    board.end(outcomes)
    assert ("about 1:00 left" in screen.file.getvalue()) == (not more)  # type: ignore[attr-defined]


def test_score_of_a_caller_has_its_own_column(run: Run, tmp_path: Path) -> None:
    result = run([a_job(tmp_path / "a")])
    table = final_table(result.sweep.outcomes, Score("loss", "loss, nats", lambda outcome: f"<{outcome.returned}>"))
    printed = io.StringIO()
    Console(file=printed, width=200).print(table)
    header, row = printed.getvalue().splitlines()
    assert "loss, nats" in header
    assert "<91.5>" in row


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
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    sweep.run()
    assert [outcome.status for outcome in sweep.outcomes] == ["done"]
