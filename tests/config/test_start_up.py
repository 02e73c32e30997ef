"""Imports at start-up, which dominate the time until a command prints something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
