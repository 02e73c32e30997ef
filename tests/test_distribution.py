"""The wheel and the source distribution: what is in them, and that they train without a checkout."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICK = ["trainer.max_steps=1", "trainer.batch_size=20", "dataset.limit=4", "tracking=none", "trainer.device=cpu"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def build(kind: str, source: Path, out: Path) -> Path:
    """Build one distribution with the project's own backend, without a network."""
    program = (
        "import os, sys; from hatchling import build; os.chdir(sys.argv[1]);"
        "print(getattr(build, 'build_' + sys.argv[2])(sys.argv[3]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(source), kind, str(out)], capture_output=True, text=True, check=True
    )
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed")
    return build("wheel", ROOT, tmp_path_factory.mktemp("dist"))


def test_wheel_holds_the_project_and_nothing_beside_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    conf = {f"mcl/conf/{file.relative_to(ROOT / 'conf').as_posix()}" for file in (ROOT / "conf").rglob("*.yaml")}
    studies = {f"mcl/experiments/{file.parent.name}/study.yaml" for file in ROOT.glob("experiments/*/study.yaml")}
    starter = {"my_parts.py", "conf/loss/my_loss.yaml", "conf/experiment/mine.yaml"}
    assert conf <= names
    assert studies <= names
    assert {f"mcl/commands/starter/{name}" for name in starter} <= names
    assert {"mcl/py.typed", "hydra_plugins/mcl_gpus/launcher.py"} <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "mcl",
        "hydra_plugins",
        "hydra_gpu_launcher",
        "mcl_torch",
    }
    assert {name for name in names if name.startswith("hydra_plugins")} == {
        name for name in names if name.split("/")[1] in ("mcl_gpus", "mcl_networks", "mcl_optuna")
    }
    assert "hydra_gpu_launcher/guard.py" in names
    assert not [
        name for name in names if ("/runs" in name and name.startswith("mcl/experiments")) or "__pycache__" in name
    ]
    (points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "mcl = mcl.__main__:main" in zipfile.ZipFile(wheel).read(points).decode()
    assert wheel.stat().st_size < 7e6


def test_checkout_that_is_not_installed_finds_the_launcher() -> None:
    code = (
        "import sys; sys.path[:] = [sys.argv[1], *(path for path in sys.path if 'hydra_gpu_launcher' not in path)];"
        "import mcl.errors, hydra_gpu_launcher; print(hydra_gpu_launcher.__file__)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", code, str(ROOT)]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(ROOT / "packages")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["wheel", "sdist"])
def test_installed_package_trains_and_sweeps_without_a_checkout(source: str, wheel: Path, tmp_path: Path) -> None:
    if source == "sdist":
        packed = build("sdist", ROOT, tmp_path)
        subprocess.run(["tar", "-xzf", packed.name], cwd=tmp_path, check=True)
        wheel = build("wheel", tmp_path / packed.name.removesuffix(".tar.gz"), tmp_path)
    venv.create(tmp_path / "env", with_pip=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    known = [path for path in [sysconfig.get_path("purelib"), *sys.path] if "site-packages" in path]
    (site / "dependencies.pth").write_text("\n".join(dict.fromkeys(known)))  # of this environment, without a network
    programs = tmp_path / "env" / "bin"
    install = [programs / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"WANDB_MODE": "disabled"}
    subprocess.run(install, env=environment, check=True)
    (tmp_path / "empty").mkdir()

    def typed(*words: str) -> str:
        done = subprocess.run(
            [programs / "mcl", *words], cwd=tmp_path / "empty", env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run = typed("train", "dataset=digits", *QUICK).splitlines()[-1]
    assert "mcl train --cfg job" in typed("train", "--help")
    assert typed("train", "dataset=digits", *QUICK).splitlines()[-1] == run
    typed("evaluate", run)
    assert "report: runs/reports/quickstart/RESULTS.md" in typed("sweep", "study=quickstart", "seeds=[0]", *QUICK)
    typed("init")
    assert "runs/my_dataset/my_network/my_loss/" in typed("train", "experiment=mine", "tracking=none")
    where = [programs / "python", "-c", "import mcl; print(mcl.__file__)"]
    assert str(site) in subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout


def test_dockerfile_copies_what_exists_and_starts_the_program() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert [name for _, name in stages] == ["wheel", "cpu", "cuda"]
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    ]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    assert DOCKERFILE.count('ENTRYPOINT ["mcl"]') == 2
    text = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^mcl = "mcl.__main__:main"', text, re.MULTILINE)
    packages = re.search(r"^include = (\[.*\])$", text, re.MULTILINE)
    assert packages
    assert {path.split("/")[1] for path in json.loads(packages[1])} <= set(copied)
