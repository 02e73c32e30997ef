"""The queue: one job per device, independent failures, and only unfinished jobs run again."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.folders import lock_folder
from fakes.small_jobs import QueueResult, a_job, alive, traced, wait_until, when

from hydra_gpu_launcher import queue
from hydra_gpu_launcher.attempt import GUARD
from hydra_gpu_launcher.errors import IN_USE
from hydra_gpu_launcher.job import Job

Run = Callable[..., QueueResult]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing finds these processes")


def twelve(place: Path) -> list[Job]:
    """Return twelve jobs. The first two wait for each other, so they must run at the same time; three others fail."""
    behavior = [[f"touch={place}/{i}", f"wait={place}/{1 - i}"] for i in range(2)] + [[] for _ in range(10)]
    behavior[4], behavior[6], behavior[9] = ["raise=no luck"], ["kill"], ["once=sleep:600"]
    return [a_job(place / f"job{i}", *what) for i, what in enumerate(behavior)]


def test_other_jobs_finish_if_one_raises_one_is_killed_and_one_hangs(run: Run, tmp_path: Path) -> None:
    jobs = twelve(tmp_path)
    result = run(jobs, timeout=0.08)
    assert result.statuses == ["failed" if i in (4, 6, 9) else "done" for i in range(12)]
    assert result.outcome(jobs[4]).reason == "exit 1: RuntimeError: no luck"
    assert result.outcome(jobs[6]).reason == "killed by SIGKILL (out of memory?)"
    assert result.outcome(jobs[9]).reason == "timed out after 0.08 min"
    failure = result.sweep.failure()
    assert str(failure) == (
        "3 of 12 jobs failed: job4 (exit 1: RuntimeError: no luck); job6 (killed by SIGKILL (out of memory?));"
        " job9 (timed out after 0.08 min)"
    )
    assert all(outcome.returned == 91.5 for outcome in result.sweep.outcomes if outcome.finished)
    intervals: dict[str, list[tuple[float, float]]] = {"0": [], "1": []}
    for outcome in result.sweep.outcomes:
        lines = traced(outcome.job.folder)
        assert {line["gpu"] for line in lines} == {outcome.device.removeprefix("GPU ")}, "each sees its own alone"
        intervals[lines[0]["gpu"]].append((lines[0]["time"], lines[-1]["time"]))
    for of_one in intervals.values():
        of_one.sort()
        assert of_one
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(of_one)), "one at a time"

    again = run(jobs, timeout=0.08)
    assert again.statuses == [{4: "failed", 6: "failed", 9: "done"}.get(i, "done before") for i in range(12)]
    started = [len(traced(job.folder, "started")) for job in jobs]
    assert started == [2 if i in (4, 6, 9) else 1 for i in range(12)]


def test_job_log_has_the_command_and_the_output(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "with 'quotes'", "raise=no luck")
    run([job], devices=[3])
    run([job], devices=[3])
    lines = job.log.read_text().splitlines()
    headers = [line for line in lines if line.startswith("# ")]
    assert len(headers) == 2
    assert ", GPU 3: CUDA_VISIBLE_DEVICES=3 OMP_NUM_THREADS=" in headers[0]
    assert lines.count("RuntimeError: no luck") == 2
    command_line = headers[0].partition("GPU 3: ")[2]
    (job.folder / "trace.jsonl").unlink()
    assert os.system(f"{command_line} 2> /dev/null") != 0
    assert [line["gpu"] for line in traced(job.folder)] == ["3"]


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links are followed here")
def test_a_log_that_is_a_link_is_not_written_to(run: Run, tmp_path: Path) -> None:
    victim, job = tmp_path / "victim", a_job(tmp_path / "job")
    victim.write_text("precious")
    job.folder.mkdir()
    job.log.symlink_to(victim)
    result = run([job, a_job(tmp_path / "other")])
    assert result.statuses == ["failed", "done"]
    assert result.outcome(job).reason == (
        f"{job.log} is a link, so the output of the job would be added to another file. Remove the link, then run the"
        " same command again."
    )
    assert victim.read_text() == "precious"
    job.log.unlink()
    assert run([job]).statuses == ["done"]


def test_jobs_are_pinned_to_disjoint_cores(run: Run, tmp_path: Path) -> None:
    jobs = [
        a_job(tmp_path / name, f"touch={tmp_path}/{name}1", f"wait={tmp_path}/{other}1") for name, other in ("ab", "ba")
    ]
    assert run(jobs, devices="cpu", per_gpu=2).statuses == ["done", "done"]
    (one,), (other,) = (traced(job.folder, "started") for job in jobs)
    assert one["gpu"] == other["gpu"] == ""
    if cores := len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0:
        assert set(one["cores"]) | set(other["cores"]) == os.sched_getaffinity(0)
        assert cores == 1 or not set(one["cores"]) & set(other["cores"])
        assert one["threads"] == str(len(one["cores"]))


def test_failed_job_is_retried_after_the_others(run: Run, tmp_path: Path) -> None:
    jobs = [a_job(tmp_path / "a", "once=raise:no luck"), a_job(tmp_path / "b"), a_job(tmp_path / "c", "exit=7")]
    result = run(jobs, devices=[0], retries=2)
    assert result.statuses == ["done", "done", "failed"]
    assert [outcome.attempts for outcome in result.sweep.outcomes] == [2, 1, 3]
    assert traced(tmp_path / "a", "started")[1]["time"] > traced(tmp_path / "b", "ended")[0]["time"]
    assert "failed (3 attempts)" in result.printed
    assert ", attempt 2: " in jobs[0].log.read_text()


def test_retries_of_jobs_that_failed_on_a_broken_gpu_run_on_another(run: Run, tmp_path: Path) -> None:
    broken = "import os, sys, time; sys.exit('lost') if os.environ['CUDA_VISIBLE_DEVICES'] == '1' else time.sleep(0.3)"
    jobs = [Job(name, tmp_path / name, (sys.executable, "-c", broken)) for name in "abcde"]
    result = run(jobs, retries=1)
    assert result.statuses == ["done"] * 5
    assert "failed" in result.printed
    assert {outcome.device for outcome in result.sweep.outcomes} == {"GPU 0"}


def test_job_with_a_status_to_requeue_runs_again_with_its_resume_command(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "a", "once=exit:75", "exit=3")
    resumed = a_job(tmp_path / "a")
    job = replace(job, resume_command=resumed.command)
    other = a_job(tmp_path / "b")
    result = run([job, other], devices=[0], requeue_statuses=[75])
    assert result.statuses == ["done", "done"]
    assert result.outcome(job).attempts == 1, "no retry was used up"
    assert traced(job.folder, "started")[1]["time"] > traced(other.folder, "ended")[0]["time"]
    assert "a exited with status 75; it runs again later" in result.printed


def test_job_that_always_asks_to_be_requeued_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_REQUEUED", 2)
    job = a_job(tmp_path / "a", "exit=9")
    result = run([job], requeue_statuses=[9])
    assert result.outcome(job).reason.startswith("exit 9")
    assert len(traced(job.folder, "started")) == 3


def test_externally_stopped_job_counts_as_failed(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "a", "once=exit:75")
    result = run([job])
    assert result.statuses == ["stopped"]
    assert (
        str(result.sweep.failure())
        == "1 of 1 jobs failed: a (stopped by another program; run the same command again to resume)"
    )
    assert run([job], retries=1).statuses == ["done"]


def test_fail_fast_stops_the_other_jobs(run: Run, tmp_path: Path) -> None:
    jobs = [a_job(tmp_path / "a", f"touch={tmp_path}/on", "sleep=600")]
    jobs += [a_job(tmp_path / "b", f"wait={tmp_path}/on", "raise=no luck"), a_job(tmp_path / "c")]
    result = run(jobs, fail_fast=True)
    assert result.statuses == ["stopped", "failed", "not started"]
    assert traced(tmp_path / "a")[-1]["what"] == "stopped"
    assert "2 of 3 jobs failed: a (stopped); b (exit 1: RuntimeError: no luck); 1 not started" in str(
        result.sweep.failure()
    )


def test_jobs_with_the_same_folder_run_once(run: Run, tmp_path: Path) -> None:
    jobs = [a_job(tmp_path / "a"), a_job(tmp_path / "b"), a_job(tmp_path / "." / "a")]
    result = run(jobs)
    assert result.statuses == ["done", "done"]
    assert result.outcome(jobs[0]) is result.outcome(jobs[2])


def test_job_without_finished_check_runs_again(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "a", "whatever is there", always_runs=True)
    run([job])
    assert run([job]).statuses == ["done"]
    assert len(traced(job.folder, "ended")) == 2


@pytest.mark.parametrize("content", ["", '{"name": "other"}', "[]"])
def test_summary_of_another_job_does_not_count(run: Run, tmp_path: Path, content: str) -> None:
    job = a_job(tmp_path / "a")
    job.folder.mkdir()
    (job.folder / "summary.json").write_text(content)
    assert run([job]).statuses == ["done"]


def test_hanging_job_leaves_no_process(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "a", "daemon", "deaf", "sleep=600")
    result = run([job], timeout=0.02, grace=0.5)
    assert result.outcome(job).reason == "timed out after 0.02 min"
    assert "still running 0.5 s after SIGTERM: killed" in job.log.read_text()
    processes = [traced(job.folder)[0]["pid"], int((job.folder / "daemon").read_text())]
    assert not any(map(alive, processes))


def test_frozen_job_and_guard_time_out(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "a", "freeze")
    result = run([job], timeout=0.02, grace=0.5)
    assert result.outcome(job).reason == "timed out after 0.02 min"
    assert not alive(traced(job.folder)[0]["pid"])


def test_finished_job_leaves_no_process(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job(tmp_path / "a", "daemon")
    assert run([job], grace=0.2).statuses == ["done"]
    assert not alive(int((job.folder / "daemon").read_text()))


def kill_guard_of(job: Job) -> None:
    pid = traced(job.folder)[0]["pid"]
    guard = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guard, signal.SIGKILL)


def test_killed_guard_stops_its_job(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "a", f"once=touch:{tmp_path}/on", "sleep=2")
    when(tmp_path / "on", lambda: kill_guard_of(job))
    result = run([job])
    assert result.outcome(job).reason == "killed by SIGKILL (out of memory?)"
    assert traced(job.folder)[-1]["what"] == "stopped"


@linux
def test_hanging_job_of_a_killed_guard_leaves_no_process(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "a", "daemon", "deaf", f"touch={tmp_path}/on", "sleep=60")
    when(tmp_path / "on", lambda: kill_guard_of(job))
    result = run([job], grace=0.5)
    processes = [traced(job.folder)[0]["pid"], int((job.folder / "daemon").read_text())]
    assert not any(map(alive, processes))
    assert result.outcome(job).reason == "killed by SIGKILL (out of memory?)"


@linux
def test_guard_kills_although_the_disk_is_full(tmp_path: Path) -> None:
    code = (
        f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(tmp_path / 'on')!r}, 'w'); time.sleep(60)"
    )
    read_end, write_end = os.pipe()
    with open("/dev/full", "w") as full:
        command = [*GUARD, str(read_end), "0.2", "", sys.executable, "-S", "-c", code]
        guard = subprocess.Popen(command, stderr=full, pass_fds=[read_end])
    os.close(read_end)
    wait_until((tmp_path / "on").exists)
    (job,) = (int(pid) for pid in Path(f"/proc/{guard.pid}/task/{guard.pid}/children").read_text().split())
    os.close(write_end)  # as a launcher that ends
    assert guard.wait(timeout=20.0) == -signal.SIGKILL
    assert not alive(job)


def test_folder_in_use_elsewhere_waits_until_the_others_are_done(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydra_gpu_launcher.queue.ASK_AGAIN", 0.1)
    jobs = [a_job(tmp_path / "a"), a_job(tmp_path / "b"), a_job(tmp_path / "c", f"touch={tmp_path}/on")]
    lock = lock_folder(jobs[0].folder)
    when(tmp_path / "on", lock.close)
    result = run(jobs, devices=[0])
    assert result.statuses == ["done", "done", "done"]
    assert traced(jobs[0].folder, "started")[0]["time"] > traced(jobs[2].folder, "started")[0]["time"]
    assert f"a is in use by process {os.getpid()}" in result.printed
    assert result.printed.count("is in use by") == 1


def test_job_finished_by_another_launcher_is_done(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydra_gpu_launcher.queue.ASK_AGAIN", 0.1)
    job, other = a_job(tmp_path / "a"), a_job(tmp_path / "b", f"touch={tmp_path}/on")
    lock = lock_folder(job.folder)

    def finish() -> None:
        (job.folder / "summary.json").write_text(json.dumps({"name": "a"}))
        lock.close()

    when(tmp_path / "on", finish)
    result = run([job, other])
    assert result.statuses == ["done elsewhere", "done"]
    assert result.sweep.failure() is None
    assert not traced(job.folder)


@pytest.mark.parametrize("how", ["alone", "by torchrun"])
def test_job_that_loses_the_race_for_its_folder_has_not_failed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("hydra_gpu_launcher.queue.ASK_AGAIN", 0.5)  # two or three attempts while the folder is locked
    job = a_job(tmp_path / "a", how)
    folders: list[Any] = []
    monkeypatch.setattr("fakes.folders.LockingJob.holder", lambda job: folders.append(job))  # sees nobody: the race
    lock = lock_folder(job.folder)
    threading.Timer(1.0, lock.close).start()
    result = run([job])
    assert result.statuses == ["done"]
    assert result.outcome(job).attempts == 1
    assert "is in use by" in job.log.read_text()


def test_retries_are_limited_if_a_folder_without_holder_is_reported_in_use(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydra_gpu_launcher.queue.ASK_AGAIN", 0.0)
    job = a_job(tmp_path / "a", f"exit={IN_USE}")
    result = run([job])
    assert result.outcome(job).reason.startswith(f"exit {IN_USE}")
    assert 1 < len(traced(job.folder, "started")) < 20


def test_error_that_mentions_in_use_is_a_failure(run: Run, tmp_path: Path) -> None:
    job = a_job(tmp_path / "a", "raise=port 80 is in use by process 7")
    assert run([job]).outcome(job).reason == "exit 1: RuntimeError: port 80 is in use by process 7"
    assert len(traced(job.folder, "started")) == 1


def test_folder_that_cannot_be_created_fails_only_its_job(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    jobs = [a_job(tmp_path / "file" / "a"), a_job(tmp_path / "b")]
    result = run(jobs)
    assert result.statuses == ["failed", "done"]
    assert "Cannot write" in result.outcome(jobs[0]).reason
