"""The command line of each job of ``hydra/launcher=gpus``."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import train
from hydra_gpu_launcher.job import Job
from hydra_plugins.mcl_gpus import _launch
from hydra_plugins.mcl_gpus._command import varied
from mcl.config.launch import launch

ROOT = Path(__file__).parents[2]
MULTIRUN = ["-m", "hydra/launcher=gpus", "hydra.launcher.devices=cpu"]
Command = Callable[..., Any]


class NotRun(_launch.JobQueue):
    """Record the jobs instead of running them, and report them as done."""

    last: "NotRun"

    def run(self) -> None:
        NotRun.last = self
        for i, outcome in enumerate(self.outcomes):
            outcome.status, outcome.returned = "done", float(i)

    @property
    def jobs(self) -> list[Job]:
        return [outcome.job for outcome in self.outcomes]

    @property
    def arguments(self) -> list[list[str]]:
        """Return the arguments of ``python train.py`` of each job."""
        return [list(job.command[2:]) for job in self.jobs]


@pytest.fixture
def launched(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., NotRun]:
    """``launched("seed=0,1")``: the jobs of ``python train.py -m hydra/launcher=gpus seed=0,1``."""
    monkeypatch.setattr(_launch, "JobQueue", NotRun)
    monkeypatch.setattr(_launch, "default_precisions", lambda gpus: dict.fromkeys(gpus, "float32"))

    def run(*arguments: str) -> NotRun:
        done = command("-m", "hydra/launcher=gpus", "hydra.launcher.devices=[0,1]", *arguments)
        assert done.status == 0, done.err
        return NotRun.last

    return run


def test_job_is_its_overrides_and_its_folder(launched: Callable[..., NotRun]) -> None:
    sweep = launched("loss=independent,mcl", "seed=3", "optimizer.lr=0.05")
    assert [command[:-1] for command in sweep.arguments] == [
        [f"loss={loss}", "seed=3", "optimizer.lr=0.05"] for loss in ("independent", "mcl")
    ]
    for job, loss in zip(sweep.jobs, ("independent", "mcl"), strict=True):
        assert job.command[:2] == (sys.executable, str(ROOT / "train.py"))
        assert job.command[-1] == f"hydra.run.dir=runs/digits/resnet8/{loss}/{job.config_hash}"
        assert job.folder == Path.cwd() / "runs" / job.name
        assert (job.varied, job.epochs, job.max_steps) == (f"loss={loss}", 20, None)


def test_jobs_need_the_same_memory_unless_something_but_the_seed_or_a_factor_differs(
    launched: Callable[..., NotRun],
) -> None:
    assert len({job.kind for job in launched("loss=independent", "seed=0,1", "optimizer.lr=0.05,0.1").jobs}) == 1
    assert len({job.kind for job in launched("loss=lmcl", "loss.weights.vcl=0.5,1.0").jobs}) == 1
    assert len({job.kind for job in launched("loss=lmcl", "loss.weights.vcl=0.5,0.0").jobs}) == 2
    assert len({job.kind for job in launched("loss=independent", "seed=0,1", "dataset.seed=${seed}").jobs}) == 1
    assert len({job.kind for job in launched("loss=independent", "trainer.batch_size=32,64").jobs}) == 2


def test_log_of_a_job_hides_passwords(launched: Callable[..., NotRun]) -> None:
    (job,) = launched("seed=3", "tracking=mlflow", "tracking.mlflow.uri='postgresql://me:secret@place'").jobs
    assert "secret" in "".join(job.command)
    assert "secret" not in job.typed
    assert job.typed.startswith(sys.executable)


@pytest.mark.parametrize(
    ("option", "asked"),
    [("per_gpu=auto", "per_gpu=auto"), ("wait_for_free=true", "wait_for_free=true"), ("per_gpu=2", "")],
)
def test_gpus_are_watched_only_if_it_is_asked_for(
    launched: Callable[..., NotRun], monkeypatch: pytest.MonkeyPatch, option: str, asked: str
) -> None:
    watched: list[Any] = []
    monkeypatch.setattr(_launch, "uuids", lambda gpus: {gpu: f"GPU-{gpu}" for gpu in gpus})
    monkeypatch.setattr(_launch, "gpu_monitor", lambda *arguments: watched.append(arguments))
    launched("loss=independent", f"hydra.launcher.{option}")
    assert watched == ([({"0": "GPU-0", "1": "GPU-1"}, f"hydra.launcher.{asked}")] if asked else [])


def test_single_command_of_a_job_uses_the_same_folder(
    launched: Callable[..., NotRun], composed: Callable[..., Any]
) -> None:
    (job,) = launched("pair=resnet20", "+network@pair.third=resnet8", "~tracking", "trainer.max_steps=7").jobs
    config = composed(*job.command[2:], hydra=True)
    assert Path(config.hydra.run.dir).absolute() == job.folder
    alone = composed(*job.command[2:-1], hydra=True)
    assert Path(alone.hydra.run.dir).absolute() == job.folder
    assert job.max_steps == 7


def test_multirun_options_are_not_passed_to_jobs(launched: Callable[..., NotRun]) -> None:
    sweep = launched(
        *("hydra.sweep.dir=else", "hydra.sweeper.max_batch_size=9", "hydra/sweeper=basic", "hydra.verbose=true"),
        *("hydra.run.dir=nowhere", "hydra.launcher.retries=2", "++hydra.launcher.grace=5"),
    )
    (command,) = sweep.arguments
    assert command[:-1] == ["hydra.verbose=true"]
    assert command[-1] == f"hydra.run.dir=else/{sweep.jobs[0].name.partition('else/')[2]}"
    assert sweep.jobs[0].folder.is_relative_to(Path.cwd() / "else")


def test_other_configurations_are_passed_on(launched: Callable[..., NotRun], tmp_path: Path) -> None:
    mine = tmp_path / "my conf" / "optimizer"
    mine.mkdir(parents=True)
    (mine / "mine.yaml").write_text("_target_: torch.optim.SGD\nlr: 0.5\n")
    (tmp_path / "my conf" / "other.yaml").write_text("defaults: [train, _self_]\nseed: 5\n")
    (command,) = launched("optimizer=mine", f"--config-dir={tmp_path}/my conf", "--config-name=other").arguments
    assert command[:-1] == [f"--config-dir={tmp_path}/my conf", "--config-name=other", "optimizer=mine"]


def test_config_file_with_multirun_mode_does_not_make_jobs_multiruns(
    launched: Callable[..., NotRun], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "many.yaml").write_text("defaults: [train, _self_]\nhydra: {mode: MULTIRUN}\n")
    (command,) = launched("--config-dir=mine", "--config-name=many").arguments
    assert "hydra.mode=RUN" in command


def test_multirun_mode_is_disabled_only_in_jobs_whose_files_set_it(
    launched: Callable[..., NotRun], tmp_path: Path
) -> None:
    (tmp_path / "mine" / "debug").mkdir(parents=True)
    (tmp_path / "mine" / "debug" / "one.yaml").write_text("# @package _global_\ntrainer: {epochs: 3}\n")
    (tmp_path / "mine" / "debug" / "many.yaml").write_text("# @package _global_\nhydra: {mode: MULTIRUN}\n")
    plain, nested = launched("debug=one,many", "seed=0,1", "--config-dir=mine").arguments[1:3]
    assert "hydra.mode=RUN" in nested, "although the first job does not ask for it"
    assert "hydra.mode=RUN" not in plain


def test_interpolations_are_resolved_by_each_job(launched: Callable[..., NotRun], composed: Callable[..., Any]) -> None:
    settings = ["+hydra.job.env_set.FOO=s_${seed}", "+hydra.job.env_set.BAR=${hydra.job.num}"]
    sweep = launched(*settings, "seed=4,5", "dataset.limit=${seed}")
    for number, (seed, command) in enumerate(zip((4, 5), sweep.arguments, strict=True)):
        assert command[2:4] == settings
        config = composed(*command, hydra=True)
        assert config.hydra.job.env_set == {"FOO": f"s_{seed}", "BAR": str(number)}
        assert (config.seed, config.dataset.limit) == (seed, seed)


def test_job_folder_may_use_job_number_and_overrides(launched: Callable[..., NotRun]) -> None:
    sweep = launched("hydra.sweep.subdir=${hydra.job.num}_${hydra.job.override_dirname}", "seed=4,5")
    assert [job.folder.name for job in sweep.jobs] == ["0_seed=4", "1_seed=5"]
    assert [command[0] for command in sweep.arguments] == ["seed=4", "seed=5"]


def test_setting_may_use_hydras_job_number(launched: Callable[..., NotRun], composed: Callable[..., Any]) -> None:
    sweep = launched("seed=${hydra:job.num}", "loss=mcl,lmcl")
    assert len({job.config_hash for job in sweep.jobs}) == 2
    assert sweep.arguments[1][2:4] == ["hydra.job.num=1", "hydra.job.id=1"]


def test_several_devices_per_job_use_torchrun(launched: Callable[..., NotRun]) -> None:
    (job,) = launched("hydra.launcher.devices_per_job=2").jobs
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    assert job.command[:6] == (*torchrun, str(ROOT / "train.py"))


def test_jobs_with_resume_never_ignore_existing_summaries(launched: Callable[..., NotRun]) -> None:
    assert [job.config_hash for job in launched("resume=never").jobs] == [None]


@pytest.mark.parametrize(
    ("wrong", "message"),
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
def test_errors_are_reported_before_any_job_starts(command: Command, wrong: tuple[str, ...], message: str) -> None:
    done = command(*MULTIRUN, *wrong)
    assert (done.status, done.out) == (1, "")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not list(Path().rglob("job.log"))


def test_run_on_other_images_is_not_done_before(
    command: Command, launched: Callable[..., NotRun], tmp_path: Path
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
        (job,) = launched(*options, f"dataset.root={root}").jobs
        assert (job.folder / "summary.json").exists()
        return job.summary() is not None

    assert finished(one)
    assert finished(copy), "the same images elsewhere"
    assert finished(gone), "no images to compare with: the result can still be told"
    assert not finished(other)
    assert command(*options, f"dataset.root={other}").status == 1, "as train.py alone"
    (one / "a" / "0.png").unlink()
    assert not finished(one)


def test_datasets_with_one_name_and_different_images_cannot_share_a_folder(command: Command, tmp_path: Path) -> None:
    write_images(tmp_path / "one" / "pictures", 6)
    write_images(tmp_path / "other" / "pictures", 7)
    done = command(*MULTIRUN, "dataset=folder", "loss=independent", "dataset.root=one/pictures,other/pictures")
    assert (done.status, done.out) == (1, "")
    assert "dataset.root=one/pictures and dataset.root=other/pictures have different images" in done.err
    assert "dataset.name=NAME" in done.err


def write_images(root: Path, count: int) -> None:
    """Write two classes with ``count`` images each."""
    for label in "ab":
        (root / label).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (20 * i, 100, 100)).save(root / label / f"{i}.png")


def test_gpus_with_different_default_precision_require_a_precision(
    launched: Callable[..., NotRun], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"0": "bfloat16", "1": "float32"}
    monkeypatch.setattr(_launch, "default_precisions", lambda gpus: {gpu: kinds[gpu] for gpu in gpus})
    done = command("-m", "hydra/launcher=gpus", "hydra.launcher.devices=[0,1]", "seed=0,1")
    assert done.status == 1
    assert "bfloat16 on GPU 0 and float32 on GPU 1 by default" in done.err
    assert "Give trainer.precision=bfloat16 or trainer.precision=float32" in done.err
    assert done.err.count("\n") == 1
    for chosen in ("trainer.precision=bfloat16", "trainer.device=cpu"):
        assert len(launched(chosen, "seed=0,1").jobs) == 2
    assert len(launched("hydra.launcher.devices=[1]", "seed=0,1").jobs) == 2


def test_programmatic_jobs_are_launched_in_batches(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_launcher_under_torchrun_is_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = command("-m", "hydra/launcher=gpus")
    assert done.status == 1
    assert "start it with python instead of torchrun" in done.err


def test_job_labels_show_the_differing_options() -> None:
    assert varied([["a=1", "seed=0"], ["a=1", "seed=1"]]) == ["seed=0", "seed=1"]
    assert varied([["a=1"]]) == [""]


def test_hydra_starts_without_the_launchers_imports() -> None:
    heavy = "{'torch', 'rich', 'hydra_gpu_launcher.queue', 'hydra_plugins.mcl_gpus._launch'}"
    code = f"Plugins.instance(); assert not {heavy} & set(sys.modules)"
    code = f"import sys; from hydra.core.plugins import Plugins; {code}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_launcher_of_this_project_goes_before_the_one_for_any_application(composed: Callable[..., Any]) -> None:
    from hydra.core.plugins import Plugins

    assert "hydra_plugins.hydra_gpu_launcher.launcher.GpuLauncher" in Plugins.instance().class_name_to_class
    config = composed("hydra/launcher=gpus", hydra=True)
    assert config.hydra.launcher._target_ == "hydra_plugins.mcl_gpus.launcher.GpusLauncher"
