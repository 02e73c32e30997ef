"""Check and install the packages that the measurements need. Imports only the standard library."""

import subprocess
import sys
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {  # module -> distribution, with everything they import themselves
    "torch": "torch",
    "numpy": "numpy",
    "PIL": "pillow",
    "torchvision": "torchvision",
    "hydra": "hydra-core",
    "omegaconf": "omegaconf",
    "antlr4": "antlr4-python3-runtime",
    "yaml": "PyYAML",
    "packaging": "packaging",
    "scipy": "scipy",
    "rich": "rich",
    "markdown_it": "markdown-it-py",
    "mdurl": "mdurl",
    "pygments": "pygments",
    "filelock": "filelock",
    "safetensors": "safetensors",
    "matplotlib": "matplotlib",
    "contourpy": "contourpy",
    "cycler": "cycler",
    "fontTools": "fonttools",
    "kiwisolver": "kiwisolver",
    "pyparsing": "pyparsing",
    "dateutil": "python-dateutil",
}
OPTIONAL = {"pytest": "pytest", "iniconfig": "iniconfig", "pluggy": "pluggy"}  # for the tests marked gpu
PINNED = {"antlr4-python3-runtime": "==4.9.3"}  # the only version that Hydra 1.3 reads


def missing(packages: dict[str, str]) -> list[str]:
    """Return the distributions whose module cannot be found."""
    return [distribution for module, distribution in packages.items() if find_spec(module) is None]


def install(wheels: Path) -> str | None:
    """Install whatever is missing and lies in a folder of wheels. Return why that failed, or None."""
    if not wheels.is_dir():
        return f"--wheels {wheels}: there is no such folder."
    wanted = [name for name in missing({**PACKAGES, **OPTIONAL}) if name != "torch" and _has_wheel(wheels, name)]
    if not wanted:
        return None
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--find-links"]
    done = subprocess.run([*command, str(wheels), *wanted], capture_output=True, text=True)
    if done.returncode == 0:
        invalidate_caches()  # what has just been installed is to be found
        return None
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return f"pip could not install {', '.join(wanted)} from {wheels}: {' '.join(errors) or done.stderr.strip()}"


def advice(names: list[str]) -> str:
    """Return one line: what is missing, and how to bring it to a machine without internet."""
    pins = {**PINNED, **_matching_torchvision()}
    wanted = " ".join(name + pins.get(name, "") for name in [*names, *missing(OPTIONAL)])
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"missing: {', '.join(names)}. With internet: pip install {wanted}. Without: on another machine with Python"
        f" {python}, run `pip wheel --no-deps --wheel-dir wheels {wanted}`, copy the folder here and add"
        " --wheels wheels."
    )


def _has_wheel(wheels: Path, name: str) -> bool:
    key = name.lower().replace("-", "_")
    return any(file.name.lower().replace("-", "_").startswith(f"{key}_") for file in wheels.iterdir())


def _matching_torchvision() -> dict[str, str]:
    """Return the torchvision release that belongs to the installed torch: 0.26 to 2.11, 0.29 to 2.14."""
    try:
        minor = int(version("torch").split(".")[1])
    except (PackageNotFoundError, ValueError, IndexError):
        return {}
    return {"torchvision": f"==0.{minor + 15}.*"}
