"""The command that measures speed, at tiny sizes whose results mean nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"


@pytest.mark.slow
def test_remeasuring_one_part_keeps_the_others(tmp_path):
    def run(*parts: str) -> dict[str, object]:
        command = [
            sys.executable,
            str(RUN),
            *parts,
            "--tiny",
            "--repeats",
            "1",
            "--threads",
            "1",
            "--out",
            str(tmp_path),
        ]
        subprocess.run(command, check=True)
        return json.loads((tmp_path / "results.json").read_text())

    first = run()
    page = (tmp_path / "RESULTS.md").read_text()
    assert page.count("\n## ") == len(first) == 9
    assert "Not measured" not in page
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    second = run("loop")
    assert [part for part in first if second[part] != first[part]] == ["loop"]


def test_results_of_tiny_runs_do_not_replace_real_ones():
    done = subprocess.run([sys.executable, str(RUN), "--tiny"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--out" in done.stderr
