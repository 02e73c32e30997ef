"""The endurance program in small: one kill of a run, and one torn file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = """
import shutil, sys
from pathlib import Path

out = Path(sys.argv[1])
import endurance, typed
typed.prepare()
import endurance_table, kills, torn
kills.SYNTHETIC += ["trainer.max_steps=1"]

records = [{"part": "kills", "code": "", "at": "", **record} for record in kills.trials([], out, goal=1)]
base = torn.Base(out)
shutil.copytree(out / "undisturbed-lmcl", out / "finished-0")
(out / "finished-0" / torn.BUNDLE).parent.mkdir()
(out / "finished-0" / torn.BUNDLE).touch()
case = {"state": torn.WHOLE, "file": "summary.json", "way": "cut to half", "command": "resume"}
records.append({"part": "torn", "code": "", "at": "", **case, **torn.try_case(base, case)})
endurance_table.write_table(records, out / "ENDURANCE.md")
print(endurance.json.dumps(records))
"""


def test_a_run_is_killed_and_a_file_torn(tmp_path: Path, warm: None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL, str(tmp_path)], cwd=BENCHMARKS, capture_output=True, text=True, check=True
    )
    *kills, summary = json.loads(done.stdout.splitlines()[-1])
    (kill,) = [record for record in kills if "hit" in record]
    assert kill["hit"]
    assert not kill["orphans"]
    ended = [record for record in kills if "ended" in record]  # more than one if a run ended before its kill
    assert len(kills) == 1 + len(ended) > 1
    assert all(record["ended"] and record["faults"] == [] for record in ended)
    assert summary["outcome"] == "refused, file named"
    table = (tmp_path / "ENDURANCE.md").read_text()
    assert "1 of 500 kills" in table
    assert "| summary.json (finished run) | 0 | 0 | 1 |" in table


def test_differences_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself: an altered number, a torn file, a file too many."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from run_files import different_files

    one, other = tmp_path / "one", tmp_path / "other"
    for folder, loss in ((one, 0.5), (other, 0.25)):
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "time": loss, "train/loss": loss}) + "\n")
        (folder / "summary.json").write_text('{"steps": 1}' if folder == other else '{"steps')
    (one / "extra").touch()
    extra, metrics, summary = different_files(one, other)
    assert extra == "extra is too many"
    assert metrics == "metrics.jsonl differs at [0].train/loss"
    assert summary.startswith("summary.json cannot be read")
    assert different_files(one, one) == ["summary.json cannot be read" + summary.partition("read")[2]]


def test_times_and_memory_are_no_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from run_files import different_files

    folders = tmp_path / "one", tmp_path / "other"
    for folder, value in zip(folders, (1, 2), strict=True):
        folder.mkdir()
        measured = {"steps": 1, "seconds": value, "peak_memory": {"process": value}}
        (folder / "summary.json").write_text(json.dumps(measured))
    assert different_files(*folders) == []
