"""Stopped, killed and simultaneous launchers: no run is lost or repeated, no process is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.small_jobs import HERE, PACKAGE, alive, traced, wait_until

NAMES = [f"job{i}" for i in range(6)]


def launch(place: Path, *jobs: str) -> "subprocess.Popen[str]":
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    return subprocess.Popen(
        [sys.executable, str(HERE / "small_jobs.py"), str(place), *jobs],
        env={**environment, "PYTHONPATH": os.pathsep.join([str(PACKAGE), str(HERE.parent)]), "TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        text=True,
    )


def job_specs(place: Path) -> list[str]:
    """Return six jobs: the first two are quick, the next two hang the first time they run."""
    return [f"{name}:" + ("once=sleep:600" if name in ("job2", "job3") else "") for name in NAMES]


def wait_until_both_hang(place: Path) -> None:
    wait_until(lambda: all((place / name / "once").exists() for name in ("job2", "job3")))


def started_pids(place: Path) -> list[int]:
    """Return the process ids of all jobs that were started."""
    return [line["pid"] for name in NAMES for line in traced(place / name, "started")]


def finish(place: Path) -> None:
    """Launch the jobs again: only unfinished ones run, each once."""
    ended = launch(place, *job_specs(place))
    out, _ = ended.communicate(timeout=60)
    assert ended.returncode == 0, out
    assert "2 of them done before" in out
    assert all(len(traced(place / name, "ended")) == 1 for name in NAMES)
    assert [len(traced(place / name, "started")) for name in NAMES] == [1, 1, 2, 2, 1, 1]


def test_jobs_of_a_killed_launcher_save_and_exit(tmp_path: Path) -> None:
    launcher = launch(tmp_path, *job_specs(tmp_path))
    wait_until_both_hang(tmp_path)
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not any(map(alive, started_pids(tmp_path))))
    assert [traced(tmp_path / name)[-1]["what"] for name in NAMES[:4]] == ["ended", "ended", "stopped", "stopped"]
    wait_until(lambda: not list(tmp_path.glob("gpu-launcher-*")))  # the last guard removes the launcher's folder
    finish(tmp_path)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGUSR1, 75), (signal.SIGUSR2, 75)],
    ids=lambda given: str(given),
)
def test_jobs_of_a_stopped_launcher_save(number: int, status: int, tmp_path: Path) -> None:
    launcher = launch(tmp_path, *job_specs(tmp_path))
    wait_until_both_hang(tmp_path)
    launcher.send_signal(number)
    out, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == status
    assert not any(map(alive, started_pids(tmp_path)))
    assert [traced(tmp_path / name)[-1]["what"] for name in NAMES[2:4]] == ["stopped", "stopped"]
    assert "6 jobs: 2 done, 2 stopped, 2 not started" in out
    assert number == signal.SIGINT or f"stopped by {signal.Signals(number).name}" in out.splitlines()
    finish(tmp_path)


def test_second_ctrl_c_kills_jobs(tmp_path: Path) -> None:
    launcher = launch(tmp_path, "job0:deaf daemon sleep=600")
    wait_until((tmp_path / "job0" / "daemon").exists)
    wait_until(lambda: (tmp_path / "job0" / "daemon").read_text())
    launcher.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for the job, which would have 20 seconds
        launcher.wait(1.0)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(15.0) == 130
    assert not any(map(alive, [*started_pids(tmp_path), int((tmp_path / "job0" / "daemon").read_text())]))


def test_two_launchers_run_each_job_once(tmp_path: Path) -> None:
    jobs = [f"{name}:sleep=0.3" for name in NAMES]
    launchers = [launch(tmp_path, *jobs), launch(tmp_path, *jobs)]
    printed = [launcher.communicate(timeout=60)[0] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], printed
    assert [len(traced(tmp_path / name, "started")) for name in NAMES] == [1] * 6
    assert sum(out.count("started ") for out in printed) >= 6
