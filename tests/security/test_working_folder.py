"""Modules that lie in the working folder."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["select", "pathlib", "typing", "fnmatch", "re", "argparse", "yaml", "json"])
def test_a_module_in_the_working_folder_is_not_imported(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    done = subprocess.run([sys.executable, "-m", "mcl", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
