"""Imports at start-up, which dominate the time until a command prints something."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from mcl import accelerators, devices
from mcl.accelerators import surely_cpu
from mcl.config.instantiate import build
from mcl.data.known_fingerprints import known_fingerprint
from mcl.runs.summary import with_checksum

ROOT = Path(__file__).parents[2]
NEVER = {"sklearn", "scipy", "matplotlib", "pandas", "plotly", "onnx", "optuna", "ray", "submitit", "wandb"}
SLOW = NEVER | {"torchvision", "torch._dynamo", "sympy", "triton"}

TYPED = """
import atexit, sys
import train
sys.argv = ["train.py", *sys.argv[1:]]
atexit.register(lambda: print("imported:", *sys.modules))
train.train()
"""
UNTIL_THE_FIRST_STEP = """
import sys
import train
from mcl.training.trainer import Trainer

def first_step(*_):
    print("imported:", *sys.modules)
    raise KeyboardInterrupt

Trainer.train_on_batch = first_step
sys.argv = ["train.py", *sys.argv[1:]]
train.train()
"""


def imported_modules(code: str, *arguments: str, folder: Path = ROOT) -> tuple[set[str], str]:
    """Return the modules that ``code`` has imported, and its output."""
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    output, separator, modules = run.stdout.partition("imported:")
    assert separator, run.stderr
    return set(modules.split()), output + run.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "Groups and their choices"),
        (["optimizer.lrr=1"], "Did you mean 'lr'?"),
        (["loss=lmcll"], "Did you mean 'lmcl'?"),
        (["seed=x"], "seed"),
        (["trainer.epochs=x"], "error: trainer.epochs=x: expected a whole number."),
        (["trainer.export=x"], "error: trainer.export=x"),
        (["optimizer.lr=x"], "error: optimizer.lr=x: expected"),
        (["+optimizer.foo=1"], "error: optimizer.foo: there is no such option of SGD. Known: lr, momentum,"),
        (["dataset.image_size=x", "dataset=synthetic"], "error: dataset.image_size=x: expected a whole number."),
        (["loss.tau=x"], "error: loss.tau=x: expected a number."),
        (
            ["loss.meta.memory=kep"],
            "error: loss.meta.memory=kep: expected one of keep, recompute. Did you mean 'keep'?",
        ),
        (["pair.first.depths=3"], "error: pair.first.depths=3: expected a list (each a whole number)."),
    ],
)
def test_help_and_wrong_options_need_no_torch(arguments: list[str], expected: str) -> None:
    modules, output = imported_modules(TYPED, *arguments)
    assert expected in output
    assert not modules & {*SLOW, "torch", "numpy", "rich"}


def test_training_starts_without_unneeded_imports(tmp_path: Path) -> None:
    modules, _ = imported_modules(UNTIL_THE_FIRST_STEP, "tracking=none", folder=tmp_path)
    assert "torch" in modules
    assert not modules & NEVER


SMALL = ["trainer.max_steps=1", "trainer.batch_size=20", "dataset.limit=4", "tracking=none"]
QUICK = [*SMALL, "hydra.run.dir=run"]


@pytest.mark.parametrize("dataset", ["digits", "synthetic"])
@pytest.mark.parametrize("folder", [[], ["hydra.run.dir=run"]], ids=["named by the hash", "chosen"])
def test_result_of_a_finished_run_needs_no_torch(
    dataset: str, folder: list[str], command: Callable[..., Any], tmp_path: Path
) -> None:
    typed = [f"dataset={dataset}", *SMALL, *folder, "trainer.device=cpu"]
    assert command(*typed).status == 0
    modules, printed = imported_modules(TYPED, *typed, folder=tmp_path)
    assert re.search(r"(run|[0-9a-f]{10})$", printed.strip())
    assert printed.strip() in command(*typed).out
    assert not modules & {*SLOW, "torch", "numpy"}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("+foo=1", "foo: there is no such option"),
        ("seed=-1", "seed=-1: must be from 0"),
        ("objective=top1", "objective=top1"),
        ("optimizer.head_lr_factor=0", "optimizer.head_lr_factor=0: expected a number above 0"),
    ],
)
def test_a_chosen_folder_skips_no_check(option: str, message: str, command: Callable[..., Any]) -> None:
    typed = command(*QUICK, option)
    assert typed.status == 1
    assert message in typed.err
    assert typed.err.count("\n") == 1
    assert not Path("run").exists()


@pytest.mark.parametrize("change", ["data", "sha256", "config_hash"])
def test_summary_that_does_not_fit_is_looked_at_closely(change: str, command: Callable[..., Any]) -> None:
    assert command(*QUICK).status == 0
    file = Path("run/summary.json")
    stored = json.loads(file.read_text()) | {change: "0123456789abcdef"}
    file.write_text(json.dumps(stored if change == "sha256" else with_checksum(stored)))
    typed = command(*QUICK)
    assert typed.status == 1
    expected = {
        "data": "was trained on other images",
        "sha256": "is broken",
        "config_hash": "belongs to a run with other settings",
    }
    assert expected[change] in typed.err
    assert "test accuracy" not in typed.out


def test_run_that_starts_over_is_not_reported_as_finished(command: Callable[..., Any]) -> None:
    assert command(*QUICK).status == 0
    before = Path("run/summary.json").stat().st_mtime_ns
    assert command(*QUICK, "resume=never").status == 0
    assert Path("run/summary.json").stat().st_mtime_ns > before


@pytest.mark.parametrize(
    "options",
    [
        ["dataset=digits"],
        ["dataset=digits", "dataset.image_size=16", "dataset.limit=3", "dataset.validation=0.1"],
        ["dataset=synthetic"],
        ["dataset=synthetic", "dataset.noise=1", "dataset.seed=3", "dataset.classes=7", "dataset.channels=1"],
        ["dataset=synthetic", "dataset.image_size=8", "dataset.train_per_class=5", "dataset.test_per_class=2"],
    ],
)
def test_known_fingerprint_is_that_of_the_dataset(options: list[str], composed: Callable[..., DictConfig]) -> None:
    config = composed(*options)
    assert known_fingerprint(config.dataset) == build(config.dataset).fingerprint()


def test_fingerprint_of_files_is_not_known_without_reading_them(composed: Callable[..., DictConfig]) -> None:
    for options in (["dataset=folder", "dataset.root=x"], ["dataset=cifar10"], ["dataset=imagenet", "dataset.root=x"]):
        assert known_fingerprint(composed(*options).dataset) is None


def test_cpu_is_only_sure_where_torch_finds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert surely_cpu("cpu")
    assert not surely_cpu("cuda")
    assert not surely_cpu("mps")
    if surely_cpu("auto"):
        assert devices.find_device("auto").type == "cpu"
    monkeypatch.setattr(sys, "platform", "darwin")  # may have MPS
    assert not surely_cpu("auto")


@pytest.mark.parametrize("sign", ["device file", "driver"])
def test_sign_of_a_gpu_is_left_to_torch(sign: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(accelerators, "_DEVICE_FILES", (str(tmp_path) if sign == "device file" else "none",))
    monkeypatch.setattr(accelerators, "_DRIVER", None if sign == "driver" else "libnothing.so.1")  # None: this program
    assert not surely_cpu("auto")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_defaults_are_those_that_torch_gives(device: str, composed: Callable[..., DictConfig]) -> None:
    trainer = composed(f"trainer.device={device}").trainer
    assert trainer.precision == devices.default_precision(device)
    assert trainer.channels_last == devices.default_channels_last(device)
