"""Another project: a ten-line application of Hydra in a folder of its own, two GPUs, and a sweeper that prints."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fakes.small_jobs import PACKAGE

TEN_LINES = """
import os, signal
import hydra

@hydra.main(version_base=None, config_path=None)
def main(config):
    print("sees", os.environ["CUDA_VISIBLE_DEVICES"])
    if config.x == 3 and not config.get("resume"):
        os.kill(os.getpid(), signal.SIGKILL)
    return config.x**2

main()
"""
SWEEPER = """
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

class PrintingSweeper(BasicSweeper):
    def sweep(self, arguments):
        returns = super().sweep(arguments)
        print("returned", [each.return_value for batch in returns for each in batch])
"""
UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1b2c3d4e-0000-1111-2222-333344445555")
NVIDIA_SMI = f"""#!{sys.executable} -S
import sys
for i, uuid in enumerate({UUIDS}):
    print(f"GPU {{i}}: NVIDIA H200 (UUID: {{uuid}})" if "-L" in sys.argv else f"{{uuid}}, 100, 16384, 0")
"""


def write_app(folder: Path, source: str = TEN_LINES) -> None:
    """Write the application, the sweeper, and the program nvidia-smi that lists two GPUs."""
    for name, text in {
        "app.py": source,
        "hydra_plugins/printing/__init__.py": "",
        "hydra_plugins/printing/sweeper.py": SWEEPER,
        "bin/nvidia-smi": NVIDIA_SMI,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "bin" / "nvidia-smi").chmod(0o755)


def start_app(folder: Path, *overrides: str, python: str = sys.executable) -> "subprocess.Popen[str]":
    """Start a multirun of the application in its folder."""
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    environment |= {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
    if python == sys.executable:
        environment["PYTHONPATH"] = str(PACKAGE)
    sweeper = "hydra.sweeper._target_=hydra_plugins.printing.sweeper.PrintingSweeper"
    return subprocess.Popen(
        [python, "app.py", "-m", "hydra/launcher=gpus", "hydra.sweep.dir=runs", sweeper, *overrides],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_app(folder: Path, *overrides: str, **how: Any) -> tuple[int, str, str]:
    """Run a multirun of the application; return its status, output and errors."""
    started = start_app(folder, *overrides, **how)
    out, err = started.communicate(timeout=120)
    return started.returncode, out, err


def returned(out: str) -> Any:
    """Return the values that the sweeper has printed."""
    (line,) = (line for line in out.splitlines() if line.startswith("returned "))
    return json.loads(line.removeprefix("returned ").replace("'", '"').replace("None", "null"))
