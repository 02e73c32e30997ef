"""Every command in README.md and docs/ is executed, shortened by options where it is long, or listed with a reason.

A command that is new on a page is found here. If it fails because a word stands for something that is not in the
folder of `conftest.py`, add it there; if it cannot run on every machine, add it to `NOT_RUN`.
"""

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from support.doc_pages import ROOT, Command, commands

import train
from mcl import extras
from mcl.__main__ import main as mcl_main
from mcl.commands.sweep import main as sweep_main
from mcl.config.checks import check_config

DEFAULT_RUN = "runs/digits/resnet8/lmcl/73f50a34ac"
NOT_RUN = {  # pattern of a whole command -> why no test runs it
    r"pip install .*": "changes the environment and needs a network; that its extras exist is checked below",
    r"pytest": "runs this test",
    r"python -m mcl report experiments/(fashion|few|methods|tiny|timm)_\w+( --baseline .+)?": (
        "tests/reports/test_archive.py draws them again"
    ),
    r"python -m mcl evaluate few_images_tuned/.*": "needs CIFAR-10; tests/commands/test_release.py checks the logits",
    r"python docs/notebook.py": "writes into docs/; tests/docs/test_notebook.py compares what it writes",
    r"python -m build": "builds the wheel, as tests/test_distribution.py does",
    r"docker .*": "needs Docker; tests/test_distribution.py checks the Dockerfile",
    r"mcl (init|--version|-sc).*|mcl train experiment=mine": "tests/commands: init, train, completion",
    r"python (-P )?-m mcl( sync| NAME| report)?|mcl (NAME|sweep)": "names a program, and is no whole command",
    r"python (sweep\.py|train\.py OVERRIDES)": "names a program, and is no whole command",
    r"wandb (login|sweep|agent|sync).*": "needs an account of Weights & Biases",
    r"(tensorboard|mlflow) .*": "serves pages until it is stopped",
    r"(srun|scontrol|sbatch) .*|first=\$\(scontrol .*": "needs Slurm; tests/launching/test_slurm.py has a stand-in",
    r"python .* hydra/launcher=slurm.*": "needs Slurm; that it composes is checked below",
    r"python .* hydra/launcher=ray_gpus.*": "needs Ray, which the extra test leaves out: tests/launching/test_ray.py",
    r"torchrun --nnodes.*": "needs several machines; tests/distributed starts several processes on one",
    r"python benchmarks/run\.py.*": "takes an hour; tests/benchmarks runs every part of it at tiny sizes",
    r"python benchmarks/methods\.py.*": "takes minutes; tests/benchmarks/test_methods.py is the same at tiny sizes",
    r"python benchmarks/gpu\.py.*": "needs a GPU; tests/benchmarks rehearses all of it on the CPU",
}
WITHOUT_EXTRAS = ("mcl_torch-*.whl", "build")
QUICK = ["trainer.max_steps=1", "trainer.batch_size=20", "trainer.device=cpu", "++dataset.limit=8"]
SMALL = ["dataset=synthetic", "dataset.train_per_class=2", "dataset.test_per_class=1", "dataset.image_size=8"]
SMALL += ["trainer.max_steps=1", "trainer.batch_size=4", "trainer.device=cpu", "optimizer.lr=0.001"]
SMALL_BANKS = ["loss.contrast.pos_k=1", "loss.contrast.neg_k=2"]

COMMANDS = commands()
LISTED = [each for each in COMMANDS if any(re.fullmatch(pattern, each.text) for pattern in NOT_RUN)]
PATTERNS = [each for each in COMMANDS if "..." in each.words]  # python train.py ...: names a program, no command
OTHERS = [each for each in COMMANDS if each not in LISTED and each not in PATTERNS]


def of(*program: str) -> list[Command]:
    return [each for each in OTHERS if each.arguments(*program) is not None]


TRAIN = [*of("python", "train.py"), *of("mcl", "train")]
STUDIES = [*of("python", "sweep.py"), *of("mcl", "sweep")]
MCL = of("python", "-m", "mcl")
MULTIRUNS = [each for each in TRAIN if "-m" in each.words]
SINGLE = [each for each in TRAIN if each not in MULTIRUNS]
TORCHRUN, TAR = of("torchrun"), of("tar")
BENCHMARKS = [each for each in MCL if each.arguments("python", "-m", "mcl", "benchmark") is not None]
SLURM = [each for each in LISTED if "hydra/launcher=slurm" in each.words and "train.py" in each.words]


def each_of(found: list[Command], *marks: pytest.MarkDecorator) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("command", [pytest.param(each, id=each.text, marks=marks) for each in found])


def test_every_command_is_run_or_listed() -> None:
    run = [*SINGLE, *MULTIRUNS, *STUDIES, *MCL, *TORCHRUN, *TAR]
    assert len(run) > 60
    assert [f"{each.page}: {each.text}" for each in OTHERS if each not in run] == []


def test_every_reason_not_to_run_a_command_is_needed() -> None:
    unused = [pattern for pattern in NOT_RUN if not any(re.fullmatch(pattern, each.text) for each in COMMANDS)]
    assert unused == []


def test_what_pip_installs_is_this_project_with_extras_that_exist() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    known = set(re.findall(r"^(\w+) = \[", text.partition("[project.optional-dependencies]")[2], re.MULTILINE))
    assert known >= set(extras.EXTRAS)
    for needed in (*(each.values() for each in extras.EXTRAS.values()), *extras.PLUGINS.values()):
        assert all(f'"{requirement}"' in text for requirement in needed), needed
    assert 'name = "mcl"' not in text  # another project on PyPI
    installs = [each.arguments("pip", "install") for each in COMMANDS if each.words[0] == "pip"]
    assert len(installs) >= 4
    for arguments in installs:
        assert arguments is not None
        if arguments[-1] in WITHOUT_EXTRAS or "--index-url" in arguments:
            continue
        flag, place = arguments
        match = re.fullmatch(r"\.(?:\[([\w,]+)\])?", place)
        assert flag == "-e", arguments
        assert match, arguments
        assert set((match[1] or "test").split(",")) <= known


def shortened(arguments: list[str], home: Path) -> list[str]:
    """Return the arguments of train.py with paths of this folder, and with options that make the run short."""
    if arguments and arguments[0] in ("--help", "--cfg"):
        return arguments
    replaced = dict(zip(("pair=NAME", "init_from=RUN"), ("pair=resnet8", f"init_from={DEFAULT_RUN}"), strict=True))
    arguments = [replaced.get(word, word) for word in arguments]
    kept = [word for word in arguments if not word.startswith("dataset.root=") and word != "dataset=cifar100"]
    if "dataset=folder" in arguments:
        return [*kept, f"dataset.root={home}/my/images", *QUICK, "trainer.batch_size=4"]
    if kept == arguments and not any(word.startswith("experiment=") for word in arguments):
        return [*kept, *QUICK]
    if "pair=resnet32-resnet110" in arguments:
        kept = [*kept, "pair.second.depths=[1,1,1]"]
    banks = SMALL_BANKS if "experiment=imagenet_lmcl" in arguments else []
    return [*kept, *small(arguments), *banks]


def small(arguments: list[str]) -> list[str]:
    """Return options that make a run short; networks for ImageNet need larger images."""
    imagenet = any("imagenet" in word for word in arguments)
    return [*SMALL, *(["dataset.image_size=32"] if imagenet else [])]


@each_of(SINGLE)
def test_training_runs(command: Command, typed: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in command.environment.items():
        monkeypatch.setenv(name, value)
    for extra in ("tensorboard", "mlflow"):
        if f"tracking={extra}" in command.words:
            pytest.importorskip(extra)
    arguments = shortened(command.words[2:], Path.cwd())
    assert typed(train.train, argv=["train.py", *arguments])


@each_of([*MULTIRUNS, *TORCHRUN, *SLURM])
def test_training_that_is_not_run_here_is_accepted(command: Command, composed: Callable[..., DictConfig]) -> None:
    words = command.words
    overrides = [word for word in words[words.index("train.py") + 1 :] if word != "-m"]
    accepted: set[str] = set()
    for job in expanded(overrides):
        if not accepted.issuperset(job):  # the first job with each value
            check_config(composed(*job))
            accepted.update(job)


def expanded(overrides: list[str]) -> Iterator[list[str]]:
    """Yield the overrides of each job, without those of Hydra and without ranges to search."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    ranges = [each for each in parsed if each.is_sweep_override() and not each.is_choice_sweep()]
    kept = [each for each in parsed if not each.is_hydra_override() and each not in ranges]
    for batch in BasicSweeper.split_arguments(kept, max_batch_size=None):
        yield from batch


@pytest.mark.slow
@each_of(MULTIRUNS)
def test_multirun_runs(command: Command, at_home: Path) -> None:
    overrides = [word for word in shortened(command.words[2:], at_home) if word != "-m"]
    trials = ["hydra.sweeper.n_trials=2"] if "hydra/sweeper=" in command.text else []
    run_python("train.py", "-m", *overrides, *trials)


@pytest.mark.slow
@each_of(TORCHRUN)
def test_several_processes_run(command: Command, at_home: Path) -> None:
    words = command.words
    overrides = shortened(words[words.index("train.py") + 1 :], at_home)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run_python(*launcher, str(ROOT / "train.py"), *overrides, "tracking=none")


@each_of(STUDIES)
def test_study_is_planned(command: Command, typed: Callable[..., str]) -> None:
    if "hydra/launcher=slurm" in command.words:
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    arguments = [word.replace("study=/my", "study=my") for word in command.words[2:] if word != "plan_only=true"]
    assert typed(plan, [*arguments, *SMALL])  # small: it times a few steps


def plan(arguments: list[str]) -> int:
    """Type ``python sweep.py``; start no run."""
    return sweep_main(inspect.unwrap(train.train), [*arguments, "plan_only=true"])


@pytest.mark.slow
@each_of([each for each in STUDIES if "plan_only=true" not in each.words and "hydra/launcher=slurm" not in each.words])
def test_study_runs(command: Command, at_home: Path) -> None:
    arguments = [word.replace("study=/my", "study=my") for word in command.words[2:]]
    one_seed = [] if any(word.startswith("seeds=") for word in arguments) else ["seeds=[0]"]
    run_python(
        "sweep.py",
        *arguments,
        *one_seed,
        *SMALL,
        "dataset.train_per_class=4",
        f"out={at_home}/reports/{len(os.listdir(at_home))}",
    )


@each_of([each for each in MCL if each not in BENCHMARKS])
def test_command_of_mcl_runs(
    command: Command, typed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *arguments = command.words[3:]
    places = {"RUN_OR_FILE": "RUN", "PLACE": "runs", "IMAGE...": "one.jpg", "NAME": "resnet32", "FOLDER": "my/images"}
    if name == "import":
        places["RUN"] = str(tmp_path / "imported")
    elif name == "release":  # other runs of this folder have classes of their own
        places["PLACE"] = DEFAULT_RUN
    elif name == "latency":  # of files that are there
        typed(mcl_main, ["export", "RUN", "--format", "onnx", "--int8", "--network", "first"])
    elif name == "sync":  # what W&B's own command would get
        monkeypatch.setattr("subprocess.run", lambda typed, **_: print(*typed) or subprocess.CompletedProcess(typed, 0))
    elif "--archive" in arguments:  # of a study whose runs are here
        arguments = ["experiments/tiny_imagenet_100", "--archive"]
        shutil.copytree("experiments/tiny_imagenet_100", tmp_path / arguments[0])
        monkeypatch.chdir(tmp_path)
        subprocess.run(["tar", "-xf", f"{arguments[0]}/runs.tar.xz"], check=True)
    elif "--allow" in arguments:
        places["RUN"] = DEFAULT_RUN
    arguments = [places.get(word, re.sub(r"=/(elsewhere|other)", r"=\1", word)) for word in arguments]
    offline = {
        "import": ["--dataset", "cifar10"],
        "sync": ["--dry-run"],
        "release": ["--choose", "first", "--out", str(tmp_path / "weights")],  # these runs have no validation part
        "push": ["--dry-run"] if "my-user/resnet8" in arguments else [],
        "dashboard": ["--offline", "--out", str(tmp_path / "dashboard.json")],
    }
    more = [word for word in offline.get(name, []) if word not in arguments]
    assert typed(mcl_main, [name, *arguments, *more])


@pytest.mark.slow
@each_of(BENCHMARKS)
def test_benchmark_runs(command: Command, at_home: Path) -> None:
    quick = [word for word in ("--quick", "--steps", "3") if word not in command.words]
    run_python(*command.words[1:], *quick, *small(command.words))


@each_of(TAR)
def test_archive_is_unpacked(command: Command, at_home: Path, tmp_path: Path) -> None:
    (tmp_path / "runs.tar.xz").write_bytes((at_home / "experiments/tiny_imagenet_100/runs.tar.xz").read_bytes())
    subprocess.run(command.words, cwd=tmp_path, check=True)
    assert len(list((tmp_path / "runs").rglob("summary.json"))) == 24


@pytest.mark.parametrize(
    ("folder", "typed"),
    [
        (DEFAULT_RUN, []),
        *(
            (override.partition("=")[2], [word for word in each.words[2:] if word != override])
            for each in SINGLE
            for override in each.words
            if re.fullmatch(r"hydra\.run\.dir=runs/\S+/[0-9a-f]{10}", override)  # others are chosen freely
        ),
    ],
)
def test_run_folder_on_a_page_is_that_of_its_command(
    folder: str, typed: list[str], composed: Callable[..., DictConfig]
) -> None:
    precision = ["trainer.precision=bfloat16"] if "resnet32" in folder else []  # that page is about GPUs
    config = composed(*typed, *precision, "trainer.device=cpu", "hydra.runtime.output_dir=x", hydra=True)
    assert config.hydra.run.dir == folder


def test_same_report_of_the_same_runs_has_the_same_bytes(typed: Callable[..., str], at_home: Path) -> None:
    written = []
    for _ in range(2):
        typed(mcl_main, ["report", "runs/digits", "--out", "same"])
        written.append({file.name: file.read_bytes() for file in Path("same").iterdir()})
    assert {"RESULTS.md", "results.csv"} <= written[0].keys()
    assert written[0] == written[1]


def test_published_settings_are_typed_with_a_network() -> None:
    cifar = [each for each in COMMANDS if "experiment=cifar100_" in each.text]
    assert len(cifar) >= 8
    assert [each.text for each in cifar if not re.search(r" (pair|network@pair\.first)=[a-z]*res", each.text)] == []


def test_value_that_only_a_class_refuses_passes_the_first_check(composed: Callable[..., DictConfig]) -> None:
    assert "such as `optimizer.lr=-1`, fails the job" in " ".join((ROOT / "docs" / "sweeps.md").read_text().split())
    check_config(composed("optimizer.lr=-1"))


def run_python(*arguments: str) -> None:
    """Run a program of the repository in this folder."""
    first, *others = arguments
    program = [str(ROOT / first)] if first.endswith(".py") else [first]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}
    done = subprocess.run([sys.executable, *program, *others], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
