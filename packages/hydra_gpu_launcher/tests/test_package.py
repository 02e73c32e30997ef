"""The package by itself: what it imports, what its README shows, and its wheel in an environment without mcl."""

import ast
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.app import returned, run_app, start_app, write_app
from fakes.small_jobs import PACKAGE, wait_until

README = (PACKAGE / "README.md").read_text()
ROOT = PACKAGE.parents[1]


def imported(folder: Path) -> Iterator[str]:
    """Yield the first part of the name of every module that the files of a folder import."""
    files = sorted(folder.rglob("*.py"))
    assert files
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def test_engine_imports_rich_alone_and_the_plugin_hydra() -> None:
    others = {"rich", "pynvml", "hydra_gpu_launcher"}  # pynvml only if it is there
    assert set(imported(PACKAGE / "hydra_gpu_launcher")) - sys.stdlib_module_names == others
    plugin = {"hydra", "omegaconf", "cloudpickle", "hydra_gpu_launcher", "hydra_plugins"}
    assert set(imported(PACKAGE / "hydra_plugins")) - sys.stdlib_module_names == plugin


def test_table_of_options_names_each_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", README, re.MULTILINE))
    conf = PACKAGE / "hydra_plugins" / "hydra_gpu_launcher" / "conf" / "hydra" / "launcher" / "gpus.yaml"
    options = dict(re.findall(r"^(\w+): +(.*?)  +#", conf.read_text(), re.MULTILINE))
    assert len(options) == 12
    assert rows == options


def test_app_of_the_readme_resumes(tmp_path: Path) -> None:
    write_app(tmp_path, re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0])
    typed = re.findall(r"hydra\.launcher\.\w+=[\w.]+|hydra\.launcher\.resume_overrides=[^\"]*", README)
    options = ["+lr=0.1,0.01", "+steps=200", *(word for word in typed if "job_return" not in word)]
    launcher = start_app(tmp_path, *options)
    wait_until(lambda: list(tmp_path.rglob("step")))
    launcher.terminate()
    assert launcher.wait(30) == 75
    status, out, err = run_app(tmp_path, *options)
    assert status == 0, err
    assert returned(out) == [0.1, 0.01]
    starts = [re.findall(r"from step (\d+)", log.read_text()) for log in tmp_path.rglob("job.log")]
    assert any(len(steps) == 2 and int(steps[1]) > 0 for steps in starts)
    assert "2 jobs, 2 of them done before" in run_app(tmp_path, *options)[1]


@pytest.mark.slow
def test_wheel_runs_an_app_in_an_environment_without_mcl(tmp_path: Path) -> None:
    (line,) = re.findall(r"^pip (wheel --no-deps .*)$", README, re.MULTILINE)
    build = line.replace("dist", str(tmp_path / "dist"))
    subprocess.run([sys.executable, "-m", "pip", *build.split()], cwd=ROOT, check=True)
    launcher, mcl = sorted((tmp_path / "dist").glob("*.whl"))

    def engine(wheel: Path) -> dict[str, bytes]:
        archive = zipfile.ZipFile(wheel)
        return {name: archive.read(name) for name in archive.namelist() if name.startswith("hydra_gpu_launcher/")}

    assert engine(launcher)
    assert engine(launcher) == engine(mcl)

    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", str(launcher)], check=True)
    assert subprocess.run([python, "-c", "import mcl"], cwd=tmp_path, capture_output=True).returncode == 1
    assert subprocess.run([python, "-c", "import torch"], cwd=tmp_path, capture_output=True).returncode == 1
    write_app(tmp_path / "app")
    options = ("hydra.launcher.retries=1", "hydra.launcher.resume_overrides=['+resume=true']")
    status, out, err = run_app(tmp_path / "app", "+x=1,2,3,4", *options, python=python)
    assert status == 0, err
    assert returned(out) == [1, 4, 9, 16]
