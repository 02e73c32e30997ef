"""Applications of other projects, started by Hydra alone."""

import signal
from pathlib import Path

import pytest
from fakes.app import TEN_LINES, UUIDS, returned, run_app, start_app, write_app
from fakes.small_jobs import alive, wait_until

HEAD = """
import os, sys, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base=None, config_path=None)
def main(config):
    folder = Path(HydraConfig.get().runtime.output_dir)
    with open("started", "a") as file:
        print(config.x, os.getpid(), config.get("resume"), os.environ["CUDA_VISIBLE_DEVICES"], file=file)
"""


def app(folder: Path, *body: str) -> None:
    """Write an application whose jobs note their starts, and do this."""
    write_app(folder, "\n    ".join([HEAD.rstrip(), *body]) + "\n\nmain()\n")


def starts(folder: Path) -> list[list[str]]:
    """Return x, the process, whether it was resumed, and the devices of each start."""
    file = folder / "started"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def test_ten_line_app_runs_on_two_gpus_and_resumes_a_killed_job(tmp_path: Path) -> None:
    assert len(TEN_LINES.strip().splitlines()) == 11
    write_app(tmp_path)
    options = ("hydra.launcher.retries=1", "hydra.launcher.resume_overrides=['+resume=true']")
    status, out, err = run_app(tmp_path, "+x=1,2,3,4", *options)
    assert status == 0, err
    assert returned(out) == [1, 4, 9, 16]
    logs = [(tmp_path / "runs" / str(i) / "job.log").read_text() for i in range(4)]
    assert {line for log in logs for line in log.splitlines() if not line.startswith("#")} == {"sees 0", "sees 1"}
    assert [log.count("sees") for log in logs] == [1, 1, 2, 1]
    assert "killed by SIGKILL (out of memory?); again later" in out
    assert "+x=3   done (2 attempts)" in out
    assert "4 jobs: 4 done" in out


def test_gpu_is_chosen_before_the_app_and_its_modules_are_imported(tmp_path: Path) -> None:
    (tmp_path / "like_torch.py").write_text("import os\nSEEN = os.environ.get('CUDA_VISIBLE_DEVICES', 'all')\n")
    app(tmp_path, "return like_torch.SEEN")
    (tmp_path / "app.py").write_text("import like_torch\n" + (tmp_path / "app.py").read_text())
    status, out, err = run_app(tmp_path, "+x=1,2", "hydra.launcher.devices=[1]")
    assert status == 0, err
    assert returned(out) == ["1", "1"]


def test_finished_jobs_do_not_run_again_and_return_the_same_values(tmp_path: Path) -> None:
    app(tmp_path, "(folder / 'summary.json').touch()", "return config.x / 4")
    options = ("hydra.launcher.done=summary.json", "hydra.launcher.devices=cpu")
    assert run_app(tmp_path, "+x=1,2", *options)[0] == 0
    (tmp_path / "runs" / "1" / "summary.json").unlink()
    status, out, err = run_app(tmp_path, "+x=1,2", *options, "hydra.launcher.resume_overrides=['+resume=true']")
    assert status == 0, err
    assert "2 jobs, 1 of them done before" in out
    assert returned(out) == [0.25, 0.5]
    assert [start[0::2] for start in starts(tmp_path)[2:]] == [["2", "True"]], "it was started before"

    status, _, err = run_app(tmp_path, "+x=5", *options)
    assert status == 1
    assert "runs/0 has the finished job +x=1, not +x=5: give another hydra.sweep.dir" in err
    assert "Traceback" not in err
    assert len(starts(tmp_path)) == 3


def test_job_that_asks_to_be_requeued_keeps_its_folder(tmp_path: Path) -> None:
    app(tmp_path, "if not (folder / 'saved').exists():", "    (folder / 'saved').touch()", "    sys.exit(75)")
    named_by_overrides = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    options = ("hydra.launcher.resume_overrides=['+resume=true']", "hydra.launcher.devices=[0]", named_by_overrides)
    status, out, err = run_app(tmp_path, "+x=1,2", *options)
    assert status == 0, err
    assert returned(out) == [None, None]
    assert out.count("exited with status 75; it runs again later") == 2
    assert [start[0::2] for start in starts(tmp_path)] == [["1", "None"], ["2", "None"], ["1", "True"], ["2", "True"]]
    assert sorted(log.parent.name for log in tmp_path.rglob("job.log")) == ["+x=1", "+x=2"]


def test_job_that_runs_out_of_memory_beside_another_runs_again_alone(tmp_path: Path) -> None:
    app(
        tmp_path,
        "beside = lambda: len(open('started').read().split()) >= 8",
        "while not beside(): time.sleep(0.02)",
        "if config.x == 2 and not Path('full').exists():",
        "    Path('full').touch()",
        "    raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')",
        "while not Path('full').exists(): time.sleep(0.02)",
        "time.sleep(0.3)",
    )
    status, out, err = run_app(tmp_path, "+x=1,2", "hydra.launcher.devices=[0]", "hydra.launcher.per_gpu=2")
    assert status == 0, err
    assert "runs/1 ran out of memory beside other jobs; it runs again alone" in out


def test_failed_job_is_named_in_one_line_and_the_others_finish(tmp_path: Path) -> None:
    app(tmp_path, "return 1 / (config.x - 1)")
    status, out, err = run_app(tmp_path, "+x=1,2", "hydra.launcher.devices=cpu")
    assert status == 1
    assert "+x=1: exit 1: ZeroDivisionError: division by zero; see runs/0/job.log" in err
    assert "Traceback" not in err
    assert "Traceback" in (tmp_path / "runs" / "0" / "job.log").read_text()
    assert "2 jobs: 1 done, 1 failed" in out


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -2), (signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_no_job_outlives_its_launcher(number: int, status: int, tmp_path: Path) -> None:
    app(tmp_path, "time.sleep(60)")
    launcher = start_app(tmp_path, "+x=1,2,3")
    wait_until(lambda: len(starts(tmp_path)) == 2)
    launcher.send_signal(number)
    out, err = launcher.communicate(timeout=30)
    assert launcher.returncode == status, err
    wait_until(lambda: not any(alive(int(start[1])) for start in starts(tmp_path)))
    assert len(starts(tmp_path)) == 2
    assert number == signal.SIGKILL or "3 jobs: 2 stopped, 1 not started" in out


def test_watched_gpus_are_named_by_uuid(tmp_path: Path) -> None:
    app(tmp_path, "return os.environ['CUDA_VISIBLE_DEVICES']")
    options = ("hydra.launcher.per_gpu=auto", "hydra.launcher.devices=[1]", "hydra.launcher.measure_seconds=0")
    status, out, err = run_app(tmp_path, "+x=1,2", *options)
    assert status == 0, err
    assert returned(out) == [UUIDS[1]] * 2


@pytest.mark.parametrize(
    ("overrides", "top", "message"),
    [
        (["hydra.launcher.device=0"], "", "hydra.launcher.device"),
        (["+hydra.launcher.device=0"], "", "hydra.launcher.device: there is no such option. Did you mean 'devices'?"),
        (["hydra.launcher.done=../summary.json"], "", "done=../summary.json: expected a file in the folder of a job"),
        (["hydra.launcher.done=3"], "", "done=3: expected a file"),
        (["hydra.launcher.measure_seconds=-1"], "", "measure_seconds=-1: expected seconds"),
        (["hydra.launcher.resume_overrides=a"], "", "resume_overrides=a: expected a list"),
        (["hydra.launcher.resume_overrides=['resume=true']"], "", "Could not override 'resume'"),
        (["hydra.sweep.subdir=x"], "", "+x=1 and +x=2 have one folder, runs/x: let hydra.sweep.subdir contain"),
        ([], "import threading\nLOCK = threading.Lock()", "cannot be pickled"),
    ],
)
def test_what_cannot_work_ends_in_one_line_before_a_job_starts(
    overrides: list[str], top: str, message: str, tmp_path: Path
) -> None:
    app(tmp_path, "return LOCK" if top else "return 1")
    (tmp_path / "app.py").write_text(f"{top}\n{(tmp_path / 'app.py').read_text()}")
    status, _, err = run_app(tmp_path, "+x=1,2", *overrides)
    assert status == 1
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("job.log"))
    assert not list(tmp_path.rglob(".jobs-*"))


def test_value_that_cannot_be_sent_back_is_none_with_a_line_in_the_log(tmp_path: Path) -> None:
    app(tmp_path, "import threading", "return threading.Lock()")
    status, out, err = run_app(tmp_path, "+x=1", "hydra.launcher.devices=cpu")
    assert status == 0, err
    assert returned(out) == [None]
    assert "The return value, of type lock, cannot be pickled" in (tmp_path / "runs" / "0" / "job.log").read_text()


def test_value_that_cannot_be_read_back_is_none_and_the_others_are_returned(tmp_path: Path) -> None:
    odd = ("class Odd(Exception):", "    def __init__(self, one, other): super().__init__(one)", "")
    app(tmp_path, *odd, "return Odd(1, 2) if config.x == 1 else config.x")
    status, out, err = run_app(tmp_path, "+x=1,2", "hydra.launcher.devices=cpu")
    assert status == 0, err
    assert returned(out) == [None, 2]
    assert "runs/0/job_return.pickle cannot be read" in out + err


def test_search_gets_the_values(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    app(tmp_path, "return (config.x - 2) ** 2")
    plain = "hydra.sweeper._target_=hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
    options = ("hydra/sweeper=optuna", plain, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    grid = ("hydra/sweeper/sampler=grid", "+x=choice(0,1,2,3)", "hydra.launcher.devices=[0,1]")
    status, _, err = run_app(tmp_path, *options, *grid)
    assert status == 0, err
    assert "best_value: 0" in (tmp_path / "runs" / "optimization_results.yaml").read_text()
    assert {start[3] for start in starts(tmp_path)} == {"0", "1"}
