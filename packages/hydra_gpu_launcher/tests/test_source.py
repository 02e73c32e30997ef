"""Jobs that a source proposes one at a time: the next one starts as soon as a device is free."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.small_jobs import QueueResult, a_job, traced, when

from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.job import Job, Outcome

Run = Callable[..., QueueResult]


class Listed:
    """A source of these jobs; notes in ``seen`` what it is asked and told."""

    def __init__(self, *jobs: Job):
        self.waiting = list(jobs)
        self.seen: list[str] = []

    def next(self) -> Job | None:
        if not self.waiting:
            return None
        job = self.waiting.pop(0)
        self.seen.append(f"next {job.name}")
        return job

    def ended(self, outcome: Outcome) -> None:
        self.seen.append(f"{outcome.status} {outcome.job.name}")


def test_next_job_starts_when_a_device_is_free_not_when_all_are(run: Run, tmp_path: Path) -> None:
    slow = a_job(tmp_path / "slow", f"wait={tmp_path}/end")  # ends only once the last of the others has run
    quick = [a_job(tmp_path / f"quick{i}") for i in range(3)] + [a_job(tmp_path / "last", f"touch={tmp_path}/end")]
    source = Listed(slow, *quick)
    result = run([], source=source)
    assert result.statuses == ["done"] * 5
    assert source.seen[:2] == ["next slow", "next quick0"]
    assert source.seen.index("done quick0") < source.seen.index("next quick1")
    assert source.seen.index("next last") < source.seen.index("done slow")
    assert "one job after another; on GPU 0, GPU 1" in result.printed


def test_finished_job_is_not_started_and_frees_its_place(run: Run, tmp_path: Path) -> None:
    first = a_job(tmp_path / "a")
    run([first])
    source = Listed(first, a_job(tmp_path / "b"))
    assert run([], source=source).statuses == ["done before", "done"]
    assert len(traced(first.folder, "started")) == 1


def test_failed_job_is_told_and_others_go_on(run: Run, tmp_path: Path) -> None:
    source = Listed(a_job(tmp_path / "a", "raise=no luck"), *(a_job(tmp_path / name) for name in "bc"))
    assert run([], source=source).statuses == ["failed", "done", "done"]
    assert "failed a" in source.seen


def test_pruned_job_is_no_failure(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job(tmp_path / "a")
    monkeypatch.setattr(type(job), "was_pruned", lambda self: True)
    result = run([], source=Listed(job))
    assert result.statuses == ["pruned"]
    assert result.sweep.failure() is None
    assert "1 job: 1 pruned" in result.printed


def test_error_of_the_source_stops_the_jobs_that_run(run: Run, tmp_path: Path) -> None:
    class Strict(Listed):
        def ended(self, outcome: Outcome) -> None:
            super().ended(outcome)
            if outcome.status == "failed":
                raise LauncherError("too many failed")

    hanging = a_job(tmp_path / "b", "sleep=600")
    with pytest.raises(LauncherError, match="too many failed"):
        run([], source=Strict(a_job(tmp_path / "a", "raise=no luck"), hanging))
    assert traced(hanging.folder, "done") == []


def test_interrupt_is_reported_if_running_jobs_finish_but_further_ones_are_left(run: Run, tmp_path: Path) -> None:
    source = Listed(a_job(tmp_path / "a", "deaf", f"touch={tmp_path}/on", "sleep=0.5"), a_job(tmp_path / "b"))
    when(tmp_path / "on", lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run([], source=source, devices=[0])
    assert source.seen == ["next a", "done a"]
