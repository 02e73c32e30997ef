"""What each job of ``hydra/launcher=gpus`` is: the command that a person would type."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

import train
from hydra_plugins.mcl_gpus import _launch
from hydra_plugins.mcl_gpus._command import quoted, varied
from mcl.config.launch import launch
from mcl.launching.job import Job

ROOT = Path(__file__).parents[2]
MULTIRUN = ["-m", "hydra/launcher=gpus", "hydra.launcher.devices=cpu"]
Command = Callable[..., Any]


class NotRun(_launch.JobQueue):
    """Notes what would have been run, and has it done."""

    last: "NotRun"

    def run(self) -> None:
        NotRun.last = self
        for i, outcome in enumerate(self.outcomes):
            outcome.status, outcome.returned = "done", float(i)

    @property
    def jobs(self) -> list[Job]:
        return [outcome.job for outcome in self.outcomes]

    @property
    def typed(self) -> list[list[str]]:
        """What follows ``python train.py``."""
        return [list(job.command[2:]) for job in self.jobs]


@pytest.fixture
def typed(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., NotRun]:
    """``typed("seed=0,1")``: what ``python train.py -m hydra/launcher=gpus seed=0,1`` would run."""
    monkeypatch.setattr(_launch, "JobQueue", NotRun)
    monkeypatch.setattr(_launch, "default_precisions", lambda gpus: dict.fromkeys(gpus, "float32"))

    def run(*arguments: str) -> NotRun:
        done = command("-m", "hydra/launcher=gpus", "hydra.launcher.devices=[0,1]", *arguments)
        assert done.status == 0, done.err
        return NotRun.last

    return run


def test_a_job_is_its_overrides_and_its_folder(typed: Callable[..., NotRun]) -> None:
    sweep = typed("loss=independent,mcl", "seed=3", "optimizer.lr=0.05")
    assert [command[:-1] for command in sweep.typed] == [
        [f"loss={loss}", "seed=3", "optimizer.lr=0.05"] for loss in ("independent", "mcl")
    ]
    for job, loss in zip(sweep.jobs, ("independent", "mcl"), strict=True):
        assert job.command[:2] == (sys.executable, str(ROOT / "train.py"))
        assert job.command[-1] == f"hydra.run.dir=runs/digits/resnet8/{loss}/{job.config_hash}"
        assert job.folder == Path.cwd() / "runs" / job.name
        assert (job.varied, job.epochs, job.max_steps) == (f"loss={loss}", 20, None)


def test_typed_alone_a_job_finds_the_same_folder(typed: Callable[..., NotRun], composed: Callable[..., Any]) -> None:
    (job,) = typed("pair=resnet20", "+network@pair.third=resnet8", "~tracking", "trainer.max_steps=7").jobs
    config = composed(*job.command[2:], hydra=True)
    assert Path(config.hydra.run.dir).absolute() == job.folder
    alone = composed(*job.command[2:-1], hydra=True)
    assert Path(alone.hydra.run.dir).absolute() == job.folder
    assert job.max_steps == 7


def test_what_is_said_about_the_sweep_is_not_for_its_jobs(typed: Callable[..., NotRun]) -> None:
    sweep = typed(
        *("hydra.sweep.dir=else", "hydra.sweeper.max_batch_size=9", "hydra/sweeper=basic", "hydra.verbose=true"),
        *("hydra.run.dir=nowhere", "hydra.launcher.retries=2", "++hydra.launcher.grace=5"),
    )
    (command,) = sweep.typed
    assert command[:-1] == ["hydra.verbose=true"]
    assert command[-1] == f"hydra.run.dir=else/{sweep.jobs[0].name.partition('else/')[2]}"
    assert sweep.jobs[0].folder.is_relative_to(Path.cwd() / "else")


def test_other_configurations_are_passed_on(typed: Callable[..., NotRun], tmp_path: Path) -> None:
    mine = tmp_path / "my conf" / "optimizer"
    mine.mkdir(parents=True)
    (mine / "mine.yaml").write_text("_target_: torch.optim.SGD\nlr: 0.5\n")
    (tmp_path / "my conf" / "other.yaml").write_text("defaults: [train, _self_]\nseed: 5\n")
    (command,) = typed("optimizer=mine", f"--config-dir={tmp_path}/my conf", "--config-name=other").typed
    assert command[:-1] == [f"--config-dir={tmp_path}/my conf", "--config-name=other", "optimizer=mine"]


def test_a_file_that_asks_for_a_multirun_does_not_make_jobs_sweeps(
    typed: Callable[..., NotRun], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "many.yaml").write_text("defaults: [train, _self_]\nhydra: {mode: MULTIRUN}\n")
    (command,) = typed("--config-dir=mine", "--config-name=many").typed
    assert "hydra.mode=RUN" in command


def test_only_jobs_whose_own_files_ask_for_a_multirun_are_kept_from_it(
    typed: Callable[..., NotRun], tmp_path: Path
) -> None:
    (tmp_path / "mine" / "debug").mkdir(parents=True)
    (tmp_path / "mine" / "debug" / "one.yaml").write_text("# @package _global_\ntrainer: {epochs: 3}\n")
    (tmp_path / "mine" / "debug" / "many.yaml").write_text("# @package _global_\nhydra: {mode: MULTIRUN}\n")
    plain, nested = typed("debug=one,many", "seed=0,1", "--config-dir=mine").typed[1:3]
    assert "hydra.mode=RUN" in nested, "although the first job does not ask for it"
    assert "hydra.mode=RUN" not in plain


def test_interpolations_are_left_to_each_job(typed: Callable[..., NotRun], composed: Callable[..., Any]) -> None:
    typed_in = ["+hydra.job.env_set.FOO=s_${seed}", "+hydra.job.env_set.BAR=${hydra.job.num}"]
    sweep = typed(*typed_in, "seed=4,5", "dataset.limit=${seed}")
    for number, (seed, command) in enumerate(zip((4, 5), sweep.typed, strict=True)):
        assert command[2:4] == typed_in
        config = composed(*command, hydra=True)
        assert config.hydra.job.env_set == {"FOO": f"s_{seed}", "BAR": str(number)}
        assert (config.seed, config.dataset.limit) == (seed, seed)


def test_a_job_s_folder_may_be_named_by_its_number_and_its_overrides(typed: Callable[..., NotRun]) -> None:
    sweep = typed("hydra.sweep.subdir=${hydra.job.num}_${hydra.job.override_dirname}", "seed=4,5")
    assert [job.folder.name for job in sweep.jobs] == ["0_seed=4", "1_seed=5"]
    assert [command[0] for command in sweep.typed] == ["seed=4", "seed=5"]


def test_a_setting_may_ask_hydra_for_the_job_s_number(
    typed: Callable[..., NotRun], composed: Callable[..., Any]
) -> None:
    sweep = typed("seed=${hydra:job.num}", "loss=mcl,lmcl")
    assert len({job.config_hash for job in sweep.jobs}) == 2
    assert sweep.typed[1][2:4] == ["hydra.job.num=1", "hydra.job.id=1"]


def test_several_devices_are_a_job_of_torchrun(typed: Callable[..., NotRun]) -> None:
    (job,) = typed("hydra.launcher.devices_per_job=2").jobs
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    assert job.command[:6] == (*torchrun, str(ROOT / "train.py"))


def test_jobs_that_start_over_take_no_summary_for_theirs(typed: Callable[..., NotRun]) -> None:
    assert [job.config_hash for job in typed("resume=never").jobs] == [None]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("loss=mcl", "seed=0,1", "loss.tauu=1"), "loss.tauu: there is no such option"),
        (("trainer.epochs=1,many",), "trainer.epochs=many: expected a whole number"),
        (("seed=0,-1",), "seed=-1"),
        (("hydra.sweep.subdir=x", "optimizer.lr=fast"), "optimizer.lr=fast: expected a number"),
        (
            ("hydra.sweep.subdir=x", "seed=0,1"),
            "seed=1 are different runs (seed: 0 -> 1) in one folder, runs/x",
        ),
        (("hydra.sweep.subdir=x", "seed=0,1", "resume=never"), "leave out hydra.sweep.subdir and hydra.sweep.dir"),
        (("hydra.launcher.devices=[0,0]",), "named twice"),
        (("hydra.launcher.device=0",), "hydra.launcher.device: there is no such option. Did you mean 'devices'?"),
        (("+hydra.launcher.device=0",), "hydra.launcher.device: there is no such option. Did you mean 'devices'?"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(command: Command, wrong: tuple[str, ...], told: str) -> None:
    done = command(*MULTIRUN, *wrong)
    assert (done.status, done.out) == (1, "")
    assert told in done.err
    assert done.err.count("\n") == 1
    assert not list(Path().rglob("job.log"))


def test_a_run_of_other_images_is_not_done_before(
    command: Command, typed: Callable[..., NotRun], tmp_path: Path
) -> None:
    options = [
        "dataset=folder",
        "loss=independent",
        "trainer.batch_size=4",
        "trainer.max_steps=1",
        "trainer.device=cpu",
    ]
    one, other, copy, gone = (tmp_path / name / "pictures" for name in ("one", "other", "copy", "gone"))
    for root, count in ((one, 6), (other, 7), (copy, 6)):
        write_images(root, count)
    assert command(*options, f"dataset.root={one}").status == 0

    def finished(root: Path) -> bool:
        (job,) = typed(*options, f"dataset.root={root}").jobs
        assert (job.folder / "summary.json").exists()
        return job.summary() is not None

    assert finished(one)
    assert finished(copy), "the same images elsewhere"
    assert finished(gone), "no images to compare with: the result can still be told"
    assert not finished(other)
    assert command(*options, f"dataset.root={other}").status == 1, "as train.py alone"
    (one / "a" / "0.png").unlink()
    assert not finished(one)


def test_data_of_one_name_and_other_images_cannot_share_a_folder(command: Command, tmp_path: Path) -> None:
    write_images(tmp_path / "one" / "pictures", 6)
    write_images(tmp_path / "other" / "pictures", 7)
    done = command(*MULTIRUN, "dataset=folder", "loss=independent", "dataset.root=one/pictures,other/pictures")
    assert (done.status, done.out) == (1, "")
    assert "dataset.root=one/pictures and dataset.root=other/pictures have different images" in done.err
    assert "dataset.name=NAME" in done.err


def write_images(root: Path, count: int) -> None:
    """Two classes of so many images."""
    for label in "ab":
        (root / label).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (20 * i, 100, 100)).save(root / label / f"{i}.png")


def test_a_run_does_not_depend_on_the_gpu_that_it_gets(
    typed: Callable[..., NotRun], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"0": "bfloat16", "1": "float32"}
    monkeypatch.setattr(_launch, "default_precisions", lambda gpus: {gpu: kinds[gpu] for gpu in gpus})
    done = command("-m", "hydra/launcher=gpus", "hydra.launcher.devices=[0,1]", "seed=0,1")
    assert done.status == 1
    assert "bfloat16 on GPU 0 and float32 on GPU 1 by default" in done.err
    assert "Give trainer.precision=bfloat16 or trainer.precision=float32" in done.err
    assert done.err.count("\n") == 1
    for chosen in ("trainer.precision=bfloat16", "trainer.device=cpu"):
        assert len(typed(chosen, "seed=0,1").jobs) == 2
    assert len(typed("hydra.launcher.devices=[1]", "seed=0,1").jobs) == 2


def test_jobs_of_a_program_are_launched_in_batches_too(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counted(NotRun):
        def run(self) -> None:
            sizes.append(len(self.jobs))
            super().run()

    monkeypatch.setattr(_launch, "JobQueue", Counted)
    options = ["hydra/launcher=gpus", "hydra.launcher.devices=cpu", "hydra.sweeper.max_batch_size=2"]
    returns = launch(inspect.unwrap(train.train), [[f"seed={seed}"] for seed in range(3)], options)
    assert sizes == [2, 1]
    assert [done.hydra_cfg.hydra.job.num for done in returns] == [0, 1, 2]


def test_several_launchers_by_torchrun_are_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = command("-m", "hydra/launcher=gpus")
    assert done.status == 1
    assert "start it with python instead of torchrun" in done.err


PATHS = ["runs/a/0123", "/abs/x-1.5+2", "no slash", "10", "null", "a b/c", "a,b/c=d", 'it\'s/"so"', "x\\'/", "a/${b}"]


@pytest.mark.parametrize("path", [*PATHS, "é/ü"])
def test_any_folder_survives_the_grammar_of_hydra(path: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"hydra.run.dir={quoted(path)}"])
    assert str(OmegaConf.create({"dir": override.value()}).dir) == path


def test_plain_folders_are_not_quoted() -> None:
    assert quoted("runs/digits/resnet8/lmcl/0123456789") == "runs/digits/resnet8/lmcl/0123456789"


def test_jobs_are_told_apart_by_what_differs() -> None:
    assert varied([["a=1", "seed=0"], ["a=1", "seed=1"]]) == ["seed=0", "seed=1"]
    assert varied([["a=1"]]) == [""]


def test_hydra_starts_without_what_the_launcher_needs() -> None:
    heavy = "{'torch', 'rich', 'mcl.launching.queue', 'hydra_plugins.mcl_gpus._launch'}"
    code = f"Plugins.instance(); assert not {heavy} & set(sys.modules)"
    code = f"import sys; from hydra.core.plugins import Plugins; {code}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
