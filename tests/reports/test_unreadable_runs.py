"""Runs whose files are damaged, altered, copied or unfinished: what the report says of them."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.report_pages import cells, study_of, three_seeds
from support.run_folders import write_run

from mcl.runs import reading
from mcl.runs.lock import FolderLock
from mcl.runs.reading import find_runs, read_run
from mcl.runs.summary import read_summary, with_checksum

Page = Callable[..., str]


def test_status_of_unfinished_runs_is_reported(tmp_path: Path, page: Page) -> None:
    runs = tmp_path / "runs"
    unfinished = [write_run(runs, "lmcl", seed, [72.0, 72.0], finished=False) for seed in range(4)]
    for folder, status in zip(unfinished, ("failed", "interrupted"), strict=False):
        failure = {"status": status, "error": "OutOfMemoryError", "message": "no | memory\nleft", "step": 7}
        (folder / "failure.json").write_text(json.dumps(failure))
    study = study_of(runs, [0, 1, 2, 3, 4])
    lock = FolderLock(unfinished[3])
    try:
        text = page(study=study)
    finally:
        lock.release()
    below = text.split("## Runs that do not count")[1]
    assert "- lmcl, seed 0: failed. OutOfMemoryError: no \\| memory left (step 7; 4 of 4 epochs evaluated)" in below
    assert "- lmcl, seed 1: interrupted. " in below
    assert "- lmcl, seed 2: unfinished. it stopped without recording a reason" in below
    assert "- lmcl, seed 3: running. process " in below
    assert "- lmcl, seed 4: planned, and not run yet" in below
    assert "- independent, seeds 0, 1, 2, 3 and 4: planned" in below
    assert "\npython train.py loss=lmcl seed=0\n" in below
    assert "loss=lmcl seed=3" not in below  # it is running
    assert "`python sweep.py study=two`" in below
    assert cells(text, "Accuracy", "lmcl")[-1] == "0 of 5"


def test_run_that_ends_while_it_is_read_has_its_whole_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path, "lmcl", 0, [72.0, 72.0])
    whole = (folder / "metrics.jsonl").read_bytes()
    first, _, _ = whole.partition(b"\n")
    (folder / "metrics.jsonl").write_bytes(first + b"\n")

    def read_then_end(folder: Path) -> dict[str, Any] | None:
        (folder / "metrics.jsonl").write_bytes(whole)
        return read_summary(folder)

    monkeypatch.setattr(reading, "read_summary", read_then_end)
    run = read_run(folder)
    assert run.finished
    assert run.notes == []


@pytest.mark.parametrize("without", [(), ("sha256",)])
def test_summary_that_was_altered_does_not_count(without: Sequence[str], tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    file = next((runs / "digits/resnet8/lmcl").glob("*/summary.json"))
    summary = json.loads(file.read_text()) | {"seconds": 1}
    file.write_text(json.dumps({key: value for key, value in summary.items() if key not in without}))
    text = page(runs)
    assert cells(text, "Accuracy", "lmcl")[-1] == "2 of 3"
    assert "unreadable. summary.json was altered after it was written: its checksum is wrong" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", "{", "unreadable. summary.json is no valid JSON"),
        ("summary.json", "[1]", "unreadable. summary.json holds no JSON object"),
        ("summary.json", json.dumps(with_checksum({"networks": []})), "unreadable. summary.json names no networks"),
        (
            "summary.json",
            json.dumps(with_checksum({"networks": [{}]})),
            "unreadable. summary.json has a network without a name",
        ),
        ("config.yaml", "a: [", "unreadable. config.yaml is no configuration"),
        ("config.yaml", "lr: 0.1", "unreadable. config.yaml is no configuration of a run"),
        (
            "metrics.jsonl",
            '{"step": 1, "epoch": 1}\n{"st\n\xff\n[1]\n',
            "metrics.jsonl: 3 lines cannot be read (2, 3, 4)",
        ),
    ],
)
def test_unreadable_files_are_reported_in_one_line(
    name: str, content: str, message: str, tmp_path: Path, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = three_seeds(tmp_path / "runs")
    folder = next((runs / "digits/resnet8/lmcl").iterdir())
    (folder / name).write_text(content, encoding="latin-1")
    (line,) = [line for line in page(runs).splitlines() if message in line]
    assert folder.name in line
    printed = capsys.readouterr().err
    assert message.removeprefix("unreadable. ") in printed
    assert folder.name in printed


def test_copy_of_a_run_does_not_count_twice(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    write_run(runs, "lmcl", 0, [99.0, 99.0], folder=runs / "digits/resnet8/zzz")
    text = page(runs)
    assert cells(text, "Accuracy", "lmcl")[1::3] == ["73.00", "3"]
    assert "repeats the settings and the seed of " in text


@pytest.mark.parametrize("damage", ["halved", "emptied", "deleted", "of another run"])
@pytest.mark.parametrize("version", ["with a checksum", "earlier"])
def test_metrics_that_are_not_those_of_the_run_are_noted(
    damage: str, version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mcl.reports.report import write_report
    from mcl.runs.summary import metrics_checksum

    folder = write_run(tmp_path / "runs", "mcl", 0, [70.0, 71.0])
    other = write_run(tmp_path / "runs", "mcl", 1, [60.0, 61.0])
    metrics, summary = folder / "metrics.jsonl", folder / "summary.json"
    if version == "with a checksum":
        values = json.loads(summary.read_text()) | {"metrics": metrics_checksum(folder)}
        values.pop("sha256", None)
        summary.write_text(json.dumps(with_checksum(values)))
    lines = metrics.read_text().splitlines(keepends=True)
    if damage == "deleted":
        metrics.unlink()
    else:
        of_other = (other / "metrics.jsonl").read_text()
        metrics.write_text({"halved": "".join(lines[: len(lines) // 2]), "emptied": ""}.get(damage, of_other))
    write_report(None, [folder, other], tmp_path, ())
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert folder.name in note
    assert "no curve" in note


def test_a_folder_in_place_of_a_summary_is_named_and_stays_closed(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "lmcl", 0, [72.0, 72.0])
    (folder / "summary.json").unlink()
    (folder / "summary.json").mkdir()
    before = len(os.listdir("/dev/fd"))
    run = read_run(folder)
    assert (run.status, run.reason) == ("unreadable", f"{folder / 'summary.json'} is not a file.")
    assert len(os.listdir("/dev/fd")) == before


def test_a_folder_that_vanishes_during_the_search_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path, "lmcl", 0, [72.0, 72.0])
    (tmp_path / "empty").mkdir()
    scandir = os.scandir

    def vanishing(path: str) -> Any:
        if os.path.basename(path) == "empty":
            os.rmdir(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert find_runs(tmp_path) == [folder]


def test_a_split_that_is_no_word_counts_as_unknown(tmp_path: Path, page: Page) -> None:
    write_run(tmp_path / "runs", "lmcl", 0, [72.0, 72.0], summary={"best_epoch_chosen_on": ["test"]})
    assert "chosen on the unknown part" in page(tmp_path / "runs")
