"""Several jobs on a GPU: admitted by measured memory, run again alone if it ran out, never where others work."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.fake_pynvml import FakeGpu, install
from fakes.small_jobs import QueueResult, a_job, traced

from hydra_gpu_launcher.job import Job

Run = Callable[..., QueueResult]
A, B, PART = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1b2c3d4e-0000", "MIG-3eb87630-93d5"


@pytest.fixture(autouse=True)
def _often_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydra_gpu_launcher.admission.INTERVAL", 0.0)


@pytest.fixture
def gpu(tmp_path: Path) -> FakeGpu:
    (tmp_path / "gpu").mkdir()
    return FakeGpu(tmp_path / "gpu", total=16.0)


def most_at_a_time(jobs: list[Job]) -> int:
    """Return how many jobs ran at the same time, at most."""
    events = [(line["time"], 1 if line["what"] == "started" else -1) for job in jobs for line in traced(job.folder)]
    running = [sum(change for time, change in events if time <= moment) for moment, _ in events]
    return max(running)


def test_jobs_join_the_first_once_it_is_measured_as_far_as_they_fit(
    run: Run, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, {A: gpu})
    memory, fits = f"memory={gpu.folder}:4", f"fits={gpu.folder}:13"
    waits = [f"wait={tmp_path}/on1", f"wait={tmp_path}/on2"]
    # Three times 4 GiB fit into 16 with a margin, and do run together; four do not.
    jobs = [a_job(tmp_path / "0", memory, "evaluate", *waits)]
    jobs += [a_job(tmp_path / str(i), memory, fits, f"touch={tmp_path}/on{i}", *waits) for i in (1, 2)]
    jobs += [a_job(tmp_path / str(i), memory, fits, "sleep=0.2") for i in (3, 4, 5)]
    result = run(jobs, devices=[0], per_gpu="auto", uuids={"0": A})
    assert result.statuses == ["done"] * 6
    assert most_at_a_time(jobs) == 3
    assert "on GPU 0 (at most 8 at a time)" in result.printed


def test_jobs_of_another_kind_begin_alone(
    run: Run, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, {A: gpu})
    jobs = [a_job(tmp_path / kind, f"memory={gpu.folder}:2", "evaluate", "sleep=0.2", kind=kind) for kind in "ab"]
    assert run(jobs, devices=[0], per_gpu="auto", uuids={"0": A}).statuses == ["done", "done"]
    assert most_at_a_time(jobs) == 1


def test_memory_of_others_counts_and_an_unreadable_gpu_takes_one_job_at_a_time(
    run: Run, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, {A: gpu})
    gpu.others = 10.0
    job = ("evaluate", "sleep=0.2")
    jobs = [a_job(tmp_path / f"a{i}", f"memory={gpu.folder}:4", *job) for i in range(2)]
    assert run(jobs, devices=[0], per_gpu="auto", uuids={"0": A}).statuses == ["done", "done"]
    assert most_at_a_time(jobs) == 1

    job = ("evaluate", f"wait={tmp_path}/end", "sleep=0.2")
    jobs = [a_job(tmp_path / f"b{i}", f"memory={gpu.folder}:4", *job) for i in range(2)]
    looks: list[int] = []

    def lose_once_measured(it: FakeGpu) -> None:
        if (jobs[0].folder / "evaluated").exists():
            looks.append(it.readings)
            it.lost = len(looks) > 3
        if len(looks) == 20:
            (tmp_path / "end").touch()

    gpu.on_reading = lose_once_measured
    assert run(jobs, devices=[0], per_gpu="auto", uuids={"0": A}).statuses == ["done", "done"]
    assert most_at_a_time(jobs) == 1


@pytest.mark.parametrize("devices", [[0], ["cpu"]])
def test_job_that_runs_out_of_memory_runs_again_alone(run: Run, tmp_path: Path, devices: list[int | str]) -> None:
    (tmp_path / "gpu").mkdir()
    small = a_job(tmp_path / "small", f"memory={tmp_path}/gpu:4", f"touch={tmp_path}/on", f"wait={tmp_path}/on2")
    large = a_job(
        *(tmp_path / "large", f"wait={tmp_path}/on", f"memory={tmp_path}/gpu:8"),
        *(f"touch={tmp_path}/on2", f"fits={tmp_path}/gpu:10"),
    )
    # Without the memory of the other job it fits.
    last = a_job(tmp_path / "last", f"memory={tmp_path}/gpu:4", "sleep=0.2")
    result = run([small, large, last], devices=devices, per_gpu=2)
    assert result.statuses == ["done", "done", "done"]
    assert result.printed.count("large ran out of memory beside other jobs; it runs again alone") == 1
    (first, second), (end,) = traced(large.folder, "started"), traced(large.folder, "ended")
    assert first["time"] < second["time"] < end["time"]
    beside = [line["time"] for job in (small, last) for line in traced(job.folder)]
    assert not [time for time in beside if second["time"] < time < end["time"]]
    assert result.outcome(large).attempts == 1, "it has used up no retry"


def test_job_that_does_not_fit_alone_has_failed(run: Run, tmp_path: Path) -> None:
    other = a_job(tmp_path / "other", f"wait={tmp_path}/on", "sleep=0.2")
    large = a_job(tmp_path / "large", f"touch={tmp_path}/on", "exit=71")
    result = run([other, large], devices=[0], per_gpu=2)
    assert result.statuses == ["done", "failed"]
    assert len(traced(large.folder, "started")) == 2
    assert result.outcome(large).reason.startswith("exit 71")

    alone = a_job(tmp_path / "alone", "exit=71")
    assert run([alone], devices=[0], per_gpu=2).statuses == ["failed"]
    assert len(traced(alone.folder, "started")) == 1, "it was alone already"


def test_job_that_fails_for_another_reason_is_not_put_back(run: Run, tmp_path: Path) -> None:
    jobs = [a_job(tmp_path / "a", f"wait={tmp_path}/on", "sleep=0.2")]
    jobs += [a_job(tmp_path / "b", f"touch={tmp_path}/on", "raise=out of luck")]
    assert run(jobs, devices=[0], per_gpu=2).statuses == ["done", "failed"]
    assert len(traced(jobs[1].folder, "started")) == 1


@pytest.mark.parametrize("how", ["memory", "utilization"])
def test_busy_gpu_is_never_taken(
    run: Run, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (tmp_path / "busy").mkdir()
    busy = FakeGpu(tmp_path / "busy", others=4.0 if how == "memory" else 0.1, utilization=0 if how == "memory" else 97)
    install(monkeypatch, {A: busy, B: gpu})
    jobs = [a_job(tmp_path / name, f"memory={gpu.folder}:2") for name in "abc"]
    result = run(jobs, wait_for_free=True, uuids={"0": A, "1": B})
    assert {line["gpu"] for job in jobs for line in traced(job.folder)} == {"1"}
    use = "4.0 GiB, 0 % busy" if how == "memory" else "0.1 GiB, 97 % busy"
    assert result.printed.count(f"GPU 0 is in use by others ({use}); jobs wait for it") == 1
    assert "GPU 1 is in use" not in result.printed, "by our own jobs"


@pytest.mark.parametrize("other", ["busy", "lost"])
def test_retry_does_not_wait_for_a_gpu_that_no_job_of_the_queue_frees(
    run: Run, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    (tmp_path / "other").mkdir()
    second = FakeGpu(tmp_path / "other", others=4.0 if other == "busy" else 0.0)

    def lose(it: FakeGpu) -> None:
        it.lost = it.readings > 2  # after the launcher has found it

    second.on_reading = lose if other == "lost" else None
    install(monkeypatch, {A: gpu, B: second})
    jobs = [a_job(tmp_path / "a", "once=raise:no luck"), a_job(tmp_path / "b")]
    result = run(jobs, wait_for_free=True, retries=1, uuids={"0": A, "1": B})
    assert result.statuses == ["done", "done"]
    assert {line["gpu"] for job in jobs for line in traced(job.folder)} == {"0"}


def test_job_waits_until_the_gpu_stays_free(
    run: Run, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, {A: gpu})
    job = a_job(tmp_path / "a")
    looks: list[bool] = []

    def someone_elses_job(it: FakeGpu) -> None:  # between two of its jobs, it uses nothing
        it.others = 8.0 if it.readings < 6 or it.readings in (8, 9) else 0.0
        looks.append(it.readings <= 11 and job.log.exists())

    gpu.on_reading = someone_elses_job
    assert run([job], devices=[0], wait_for_free=True, uuids={"0": A}).statuses == ["done"]
    assert not any(looks), "it did not start before three readings in a row without others"


def test_ctrl_c_ends_the_wait(run: Run, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(it: FakeGpu) -> None:
        if it.readings == 5:
            os.kill(os.getpid(), signal.SIGINT)

    gpu.others, gpu.on_reading = 8.0, interrupt
    install(monkeypatch, {A: gpu})
    job = a_job(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run([job], devices=[0], wait_for_free=True, uuids={"0": A})
    assert not job.folder.exists()


def test_ctrl_c_lets_all_jobs_of_a_gpu_save(
    run: Run, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(it: FakeGpu) -> None:
        if all((tmp_path / f"on{i}").exists() for i in range(2)):
            it.on_reading = None
            os.kill(os.getpid(), signal.SIGINT)

    gpu.on_reading = interrupt
    install(monkeypatch, {A: gpu})
    jobs = [
        a_job(tmp_path / str(i), f"memory={gpu.folder}:2", "evaluate", f"touch={tmp_path}/on{i}", "sleep=60")
        for i in range(2)
    ]
    with pytest.raises(KeyboardInterrupt):
        run(jobs, devices=[0], per_gpu="auto", uuids={"0": A})
    assert [traced(job.folder)[-1]["what"] for job in jobs] == ["stopped", "stopped"]


def test_parts_of_a_gpu_and_uuids_are_measured_and_waited_for(
    run: Run, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("part", "b"):
        (tmp_path / name).mkdir()
    part = FakeGpu(tmp_path / "part", total=5.0, utilization=None)  # NVML does not know that of a part
    install(monkeypatch, {A: gpu, B: FakeGpu(tmp_path / "b"), PART: part})
    on = [f"touch={tmp_path}/on{i}" for i in range(3)]
    waits = [f"wait={tmp_path}/on{i}" for i in range(3)]
    jobs = [a_job(tmp_path / f"job{i}", on[i], *waits) for i in range(3)]
    uuids = {A[:12]: A, PART: PART, "0": B}
    result = run(jobs, devices=[A[:12], PART, 0], per_gpu="auto", wait_for_free=True, uuids=uuids)
    assert result.statuses == ["done"] * 3
    assert {traced(job.folder)[0]["gpu"] for job in jobs} == {A[:12], PART, "0"}
