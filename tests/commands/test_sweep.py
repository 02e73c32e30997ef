"""``python sweep.py``: plans, runs and wrong arguments."""

import csv
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra.core.utils import JobReturn, JobStatus

import train
from mcl.__main__ import main as report
from mcl.commands.sweep import main
from mcl.commands.sweep_arguments import understand
from mcl.config.conf_folder import conf_folder
from mcl.errors import UserError
from mcl.runs.checkpoint_files import read_checksum
from mcl.studies.plan import plan_rows
from mcl.studies.study import load_study

PAGE = """
title: Tiny
text: Two losses for three steps.
hold:
  - dataset=synthetic
  - dataset.image_size=8
  - dataset.classes=3
  - dataset.train_per_class=6
  - dataset.test_per_class=2
  - trainer.batch_size=6
  - trainer.max_steps=3
  - trainer.precision=float32
vary:
  loss: [independent, mcl]
seeds: [0, 1]
baseline: {loss: independent}
"""
SEARCH = """
title: Tiny search
hold: [dataset=synthetic, dataset.image_size=8, dataset.validation=0.2, trainer.max_steps=1, loss=mcl]
search:
  options: {loss.weights.vcl: 'tag(log, interval(0.01, 1))'}
  trials: 2
  at_once: 1
"""

TAUGHT = PAGE.replace(
    "vary:\n  loss: [independent, mcl]",
    """teachers:
  resnet14: [loss=independent, pair=single, network@pair.first=resnet14]
vary:
  loss:
    independent: [loss=independent]
    kd: [loss=kd, network@pair.second=resnet14, pair.second.frozen=true, "pair.second.weights={resnet14}"]""",
)

Sweep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    """``sweep("seeds=[0]")``: run ``python sweep.py study=tiny seeds=[0]`` in this process, one run after another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name, page in {"tiny": PAGE, "search": SEARCH, "taught": TAUGHT}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").write_text(page)

    def type_in(*arguments: str, study: str = "tiny", launcher: str = "basic") -> tuple[int, str, str]:
        capfd.readouterr()
        status = main(inspect.unwrap(train.train), [f"study={study}", f"hydra/launcher={launcher}", *arguments])
        return status, *capfd.readouterr()

    return type_in


def summaries() -> list[Path]:
    return sorted(Path("runs").rglob("summary.json"))


@pytest.mark.drawn
def test_study_runs_once_and_is_reported(sweep: Sweep) -> None:
    status, out, err = sweep()
    assert status == 0, err
    assert "4 runs, 4 of them unfinished" in out
    assert len(summaries()) == 4
    assert {file.name for file in Path("tiny").iterdir()} >= {"RESULTS.md", "results.csv", "differences.png"}
    before = {file: file.stat().st_mtime_ns for file in summaries()}
    page = Path("tiny/RESULTS.md").read_bytes()
    status, out, _ = sweep()
    assert status == 0
    assert "0 of them unfinished" in out
    assert {file: file.stat().st_mtime_ns for file in summaries()} == before
    assert Path("tiny/RESULTS.md").read_bytes() == page


def test_more_seeds_start_only_new_runs(sweep: Sweep) -> None:
    assert sweep("seeds=[0]")[0] == 0
    before = {file: file.stat().st_mtime_ns for file in summaries()}
    status, out, _ = sweep("seeds=[0,1]")
    assert status == 0
    assert "4 runs, 2 of them unfinished" in out
    assert len(summaries()) == 4
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_archived_runs_count_where_asked_and_stay_in_the_next_archive(sweep: Sweep) -> None:
    assert sweep("seeds=[0]")[0] == 0
    assert report(["report", "tiny", "--archive"]) == 0
    shutil.rmtree("runs")
    assert "2 of these are finished in tiny/runs.tar.xz: archived=true counts them." in sweep("plan_only=true")[1]
    status, out, err = sweep("archived=true")
    assert status == 0, err
    assert "4 runs, 2 of them unfinished" in out
    assert len(summaries()) == 2
    assert "4 finished runs in 2 rows." in Path("tiny/RESULTS.md").read_text()
    assert report(["report", "tiny", "--archive"]) == 0
    shutil.rmtree("runs")
    assert "0 of them unfinished" in sweep("plan_only=true", "archived=true")[1]


@pytest.mark.parametrize(
    ("study", "message"),
    [("tiny", "there is no tiny/runs.tar.xz"), ("search", "a search cannot continue from archived trials")],
)
def test_archive_that_cannot_count_is_refused(sweep: Sweep, study: str, message: str) -> None:
    status, _, err = sweep("archived=true", study=study)
    assert status == 1
    assert err.endswith(f"error: archived=true: {message}. Leave archived out.\n")


def test_selected_rows_run_and_others_are_reported_missing(sweep: Sweep) -> None:
    status, out, err = sweep("seeds=[0]", "only={loss: mcl}")
    assert status == 0, err
    assert "1 run, 1 of them unfinished" in out
    assert [file.parent.parent.name for file in summaries()] == ["mcl"]
    assert "planned, and not run yet" in Path("tiny/RESULTS.md").read_text()


def test_partial_study_does_not_replace_the_full_report(sweep: Sweep) -> None:
    sweep("seeds=[0]")
    text = Path("tiny/RESULTS.md").read_text()
    status, out, err = sweep("seeds=[0]", "only={loss: mcl}", "runs=other")
    assert status == 0, err
    assert "report: other/reports/tiny/RESULTS.md" in out
    assert "tiny/RESULTS.md covers finished runs that are not among these, and was not changed." in out
    assert Path("tiny/RESULTS.md").read_text() == text
    assert "planned, and not run yet" in Path("other/reports/tiny/RESULTS.md").read_text()


def test_unwritable_report_is_an_error_before_any_run(sweep: Sweep) -> None:
    Path("tiny/RESULTS.md").write_text("my own words")
    status, _, err = sweep()
    assert status == 1
    assert err.startswith("error: tiny/RESULTS.md was not written by this command")
    assert not Path("runs").exists()


def test_plan_only_prints_estimates_and_starts_nothing(sweep: Sweep) -> None:
    status, out, _ = sweep("plan_only=true")
    assert status == 0
    assert "at the speed of a few steps measured now" in out
    assert not Path("runs").exists()
    sweep("seeds=[0]")
    _, out, _ = sweep("plan_only=true")
    assert "as its finished runs" in out
    assert "1 finished, 1 to do" in out


def test_row_without_finished_runs_is_estimated_from_others(sweep: Sweep) -> None:
    sweep("seeds=[0]", "out=elsewhere")
    folder = Path("tiny")
    for file in summaries():
        if "mcl" in file.parts:
            shutil.rmtree(file.parent)
    independent, mcl = plan_rows(load_study(folder), estimate=True)
    summary = independent.found[0].summary
    assert independent.seconds == summary["seconds"]
    assert mcl.how == "by multiply-adds, as fast as the finished runs"
    assert mcl.seconds == pytest.approx(summary["seconds"])  # the same networks: what MCL adds is not convolutions
    assert mcl.seconds_left == pytest.approx(2 * summary["seconds"])


def test_failing_run_is_reported_with_the_others(sweep: Sweep) -> None:
    page = Path("tiny/study.yaml")
    failing = PAGE.replace("loss: [independent, mcl]", "batch: {small: [], large: [trainer.batch_size=99999]}")
    page.write_text(failing.replace("{loss: independent}", "{batch: small}").replace("seeds: [0, 1]", ""))
    status, _, err = sweep()
    assert status == 1
    assert "99999" in err
    assert len(summaries()) == 1
    assert "large" in Path("tiny/RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=1"], "for other seeds give seeds=[0,1]"),
        (["loss.tau=0.1,0.2"], "study.yaml decides what varies"),
        (["plan_onl=true"], "plan_onl: there is no such option"),
        (["trainer.epoch=3"], "trainer.epoch: there is no such option"),
        (["hydra.launcher.devces=cpu"], "devces"),
        (["only=mcl"], "only=mcl: give labels by factor"),
        (["only={los: mcl}"], "only names los, which does not vary. Did you mean 'loss'?"),
        (["only={loss: [mlc]}"], "only: loss has no mlc. Did you mean 'mcl'?"),
        (["only={loss: []}"], "only: loss has no label"),
        (["loss=mcl"], "independent and mcl give the same run"),
        (["seeds=0,1"], "seeds=0,1: a list is written in brackets"),
        (["+hydra.launcher.devces=cpu"], "hydra.launcher.devces: there is no such option. Did you mean 'devices'?"),
        (["seeds=[]"], "give at least one"),
        (["seeds=[a]"], "seeds"),
        (["formats=[gif]"], "gif"),
        (["study=tinny"], "neither experiments/tinny"),
    ],
)
def test_wrong_arguments_print_one_line(sweep: Sweep, arguments: list[str], message: str) -> None:
    status, _, err = sweep(*arguments, launcher="gpus")
    assert status == 1
    assert message in err
    assert err.splitlines()[-1].startswith("error: ")  # a slow machine first prints what takes so long
    assert "Traceback" not in err
    assert not Path("runs").exists()


def test_options_are_split_between_study_launcher_and_runs() -> None:
    settings = understand(["study=x", "runs=/big", "hydra.launcher.devices=[0,1]", "dataset.root=/data", "seeds=[4]"])
    assert settings.settings.seeds == [4]
    assert settings.launcher == ["hydra/launcher=gpus", "hydra.launcher.devices=[0,1]"]
    assert settings.runs == ["runs=/big", "dataset.root=/data"]


def test_runs_on_a_cluster_need_a_precision_that_does_not_depend_on_this_machine(sweep: Sweep) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    Path("tiny/study.yaml").write_text(PAGE.replace("  - trainer.precision=float32\n", ""))
    status, _, err = sweep("plan_only=true", launcher="slurm")
    assert status == 1
    assert "hydra/launcher=slurm: trainer.precision is left to the device" in err
    assert len(err.splitlines()) == 1
    for option in ("trainer.precision=bfloat16", "trainer.device=cpu"):
        status, out, err = sweep("plan_only=true", option, launcher="slurm")
        assert status == 0, err
        assert "4 runs" in out


def test_a_cluster_gets_unfinished_runs_alone(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert sweep("seeds=[0]")[0] == 0
    submitted: list[list[str]] = []
    monkeypatch.setattr("mcl.config.launch.launch", lambda task, jobs, settings: submitted.extend(jobs) or [])
    assert sweep("trainer.device=cpu", launcher="slurm")[0] == 0
    assert [next(text for text in job if text.startswith("seed=")) for job in submitted] == ["seed=1", "seed=1"]
    submitted.clear()
    assert sweep("trainer.device=cpu", "resume=never", launcher="slurm")[0] == 0
    assert len(submitted) == 4


def test_fail_fast_starts_no_row_of_a_teacher(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[int] = []

    def fail(task: object, jobs: list[list[str]], settings: list[str]) -> list[JobReturn]:
        launched.append(len(jobs))
        return [JobReturn(status=JobStatus.FAILED, _return_value=UserError("no luck"))]

    monkeypatch.setattr("mcl.config.launch.launch", fail)
    status, _, err = sweep("seeds=[0]", "hydra.launcher.fail_fast=true", study="taught", launcher="gpus")
    assert (status, launched) == (1, [2])
    assert "error: no luck\nerror: fail_fast: 1 run with teachers not started." in err


def test_teacher_that_is_a_row_is_trained_once(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    row = "resnet14: [loss=independent, pair=single, network@pair.first=resnet14]"
    Path("taught/study.yaml").write_text(TAUGHT.replace("loss:\n", f"loss:\n    {row}\n", 1))
    launched: list[list[str]] = []
    monkeypatch.setattr("mcl.config.launch.launch", lambda task, jobs, settings: launched.extend(jobs) or [])
    sweep("seeds=[0]", study="taught")
    assert len(launched) == len(set(map(tuple, launched))) == 2


def test_study_is_planned_for_the_devices_of_its_runs(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tiny/study.yaml").write_text(PAGE.replace("  - trainer.precision=float32\n", ""))
    monkeypatch.setattr(
        "mcl.devices.default_precision",
        lambda device: "bfloat16" if os.environ.get("CUDA_VISIBLE_DEVICES") == "1" else "float32",
    )
    monkeypatch.setattr("mcl.accelerators._may_have_gpu", lambda: True)
    planned: list[Path] = []
    monkeypatch.setattr(
        "mcl.commands.sweep.only", lambda study, filters: planned.append(study.runs[0].folder) or study.runs
    )
    for device in ("cpu", "[1]", "[2]"):
        assert sweep("plan_only=true", f"hydra.launcher.devices={device}", launcher="gpus")[0] == 0
    assert planned[0] == planned[2] != planned[1]


def test_custom_configurations_are_found_by_planner_and_runs(sweep: Sweep) -> None:
    (Path("mine") / "optimizer").mkdir(parents=True)
    (Path("mine") / "optimizer" / "slow.yaml").write_text("_target_: torch.optim.SGD\nlr: 0.001\n")
    status, _, err = sweep("optimizer=slow", "hydra.searchpath=[mine]", "seeds=[0]", "only={loss: independent}")
    assert status == 0, err
    (file,) = summaries()
    assert "lr: 0.001" in (file.parent / "config.yaml").read_text()


def test_finished_trials_of_a_search_are_reused(sweep: Sweep) -> None:
    pytest.importorskip("optuna")
    assert sweep(study="search")[0] == 0
    page = Path("search/RESULTS.md").read_text()
    assert "2 finished trials" in page
    before = {file: file.stat().st_mtime_ns for file in summaries()}
    status, out, _ = sweep(study="search")
    assert status == 0
    assert "2 so far" in out
    assert {file: file.stat().st_mtime_ns for file in summaries()} == before
    scores = [json.loads(file.read_text())["networks"] for file in summaries()]
    best = max(sum(network["validation_top1_last"] for network in networks) / 2 for networks in scores)
    assert f"reached {best:.2f} %" in page
    # The command trains the winner's own values, with all their digits.
    match = re.search(r"^python train.py -m .* loss.weights.vcl=(\S+)$", page, re.MULTILINE)
    lines = list(csv.DictReader(Path("search/results.csv").read_text().splitlines()))
    (winner, *_) = sorted(lines, key=lambda line: -float(line["validation_top1_last"]))
    weight = yaml.safe_load((Path(winner["folder"]) / "config.yaml").read_text())["loss"]["weights"]["vcl"]
    assert match is not None
    assert float(match[1]) == weight == float(winner["loss.weights.vcl"])
    # Trials of other settings leave the page as it is.
    status, out, _ = sweep("trainer.max_steps=2", study="search")
    assert status == 0
    assert "report: runs/reports/search/RESULTS.md" in out
    assert Path("search/RESULTS.md").read_text() == page


def test_teachers_are_trained_before_the_rows_that_need_them(sweep: Sweep) -> None:
    _, out, _ = sweep("plan_only=true", "seeds=[0]", study="taught")
    assert re.findall(r"^(.*?)  +0  +1 to do", out, re.MULTILINE) == ["teacher resnet14", "independent", "kd"]
    assert "3 runs, 3 of them unfinished" in out
    status, out, err = sweep("seeds=[0]", study="taught")
    assert status == 0, err
    _, student, teacher = summaries()
    assert teacher.parts[2:4] == ("single-resnet14", "independent")
    config = yaml.safe_load((student.parent / "config.yaml").read_text())
    checksum = json.loads(teacher.read_text())["checkpoint"]
    assert (
        checksum == read_checksum(teacher.parent / "checkpoints" / "last.pt") == config["weights_checksums"]["second"]
    )
    assert config["pair"]["second"]["weights"] == str(teacher.parent)
    assert "## Teachers" in Path("taught/RESULTS.md").read_text()
    _, out, _ = sweep("plan_only=true", "seeds=[0]", study="taught")
    assert "2 runs, 0 of them unfinished" in out
    assert "teacher" not in out
    shutil.rmtree(teacher.parent / "checkpoints")  # finished students do not need them any more
    status, out, err = sweep("seeds=[0]", study="taught")
    assert status == 0, err
    assert "2 runs, 0 of them unfinished" in out
    assert not (teacher.parent / "checkpoints").exists()
    # The archive has the teachers, too: without their weights, the runs of their students are found by the checksums.
    assert report(["report", "taught", "--archive"]) == 0
    page, archive = (Path("taught", name).read_bytes() for name in ("RESULTS.md", "runs.tar.xz"))
    shutil.rmtree("runs")
    assert report(["report", "taught", "--archive"]) == 0
    assert (page, archive) == tuple(Path("taught", name).read_bytes() for name in ("RESULTS.md", "runs.tar.xz"))
    status, out, err = sweep("seeds=[0]", "archived=true", study="taught")
    assert status == 0, err
    assert "2 runs, 0 of them unfinished" in out
    assert not Path("runs").exists()
    assert "note:" not in out
    with_row = re.sub(r"( +)kd: \[(.*)", r"\g<0>\n\1hot kd: [loss.temperature=9, \2", TAUGHT)
    Path("taught/study.yaml").write_text(with_row)
    _, out, _ = sweep("seeds=[0]", "archived=true", "plan_only=true", study="taught")
    assert "note: 1 archived run had a teacher that is trained again, because an archive has no weights." in out


def test_rows_of_a_teacher_that_failed_are_not_started(sweep: Sweep) -> None:
    Path("taught/study.yaml").write_text(TAUGHT.replace("first=resnet14]", "first=resnet14, optimizer.lr=1e30]"))
    status, _, err = sweep("seeds=[0]", study="taught")
    assert status == 1
    assert "error: kd, seed 0: not started: a teacher did not finish, or its weights are gone: runs/synthetic/si" in err
    assert [file.parts[3] for file in summaries()] == ["independent"]


def test_study_runs_with_the_launcher(sweep: Sweep, warm: None) -> None:
    done = subprocess.run(
        [sys.executable, str(conf_folder().parent / "sweep.py"), "study=tiny", "seeds=[0]"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2 jobs: 2 done" in done.stdout
    assert len(summaries()) == 2
    assert Path("tiny/RESULTS.md").is_file()
