"""Figures on the pages are those of files that a command writes: benchmarks/results.json, a study's results.csv."""

import csv
import io
import json
import re
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from rich.console import Console
from support.doc_pages import ROOT, blocks

from mcl.data.dataset import held_out_size
from mcl.data.known_fingerprints import DIGITS_COUNTS, DIGITS_TEST_FRACTION
from mcl.tracking import summary_table

README = " ".join((ROOT / "README.md").read_text().split())
RESULTS = json.loads((ROOT / "benchmarks" / "results.json").read_text())
FIRST_RUN = RESULTS["first_run"]["found"] if "first_run" in RESULTS else {}
measured = pytest.mark.skipif(not FIRST_RUN, reason="not measured on an idle machine yet: benchmarks/run.py first_run")
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


def whole() -> list[dict[str, float]]:
    """Return the seconds of a step, a meta round and both together, for each row of "Whole training"."""
    rows: list[dict[str, float]] = []
    for part in RESULTS["whole"]["found"].values():
        step, rounds = part["step"], part["meta_round"]
        ours, textbook = (median(step[n]) + median(rounds[n]) / part["interval"] for n in ("ours", "textbook"))
        row = {"step": median(step["ours"]), "round": median(rounds["ours"]), "ours": ours, "textbook": textbook}
        rows.append({**row, "times": textbook / ours})
    return rows


@measured
def test_result_of_the_first_run_is_printed_as_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(summary_table, "make_console", lambda: Console(file=printed, width=120))
    summary_table.print_summary(FIRST_RUN["summary"], Path(FIRST_RUN["folder"]))
    lines = [line.rstrip() for line in printed.getvalue().strip().splitlines()]
    shown = blocks(ROOT / "README.md", "")[0].strip().splitlines()
    assert shown == lines


@measured
def test_seconds_of_the_first_run_are_measured() -> None:
    (seconds,) = re.findall(r"trains for about (\d+) seconds on two CPU cores", README)
    assert int(seconds) == pytest.approx(FIRST_RUN["training"]["wall"], rel=0.25)
    assert RESULTS["first_run"]["machine"]["cores"] == 2


@measured
def test_folder_on_the_pages_is_that_of_the_first_run() -> None:
    assert f'mcl.load("{FIRST_RUN["folder"]}")' in README


def test_numbers_of_digits_are_those_of_the_dataset() -> None:
    test = sum(held_out_size(count, DIGITS_TEST_FRACTION) for count in DIGITS_COUNTS)
    total = sum(DIGITS_COUNTS)
    assert f"{total:,} bundled images of digits ({total - test:,} for training, {test} for testing)" in README


def test_runs_and_minutes_of_the_first_study_are_those_of_its_results() -> None:
    with open(ROOT / "experiments" / "quickstart" / "results.csv", newline="") as file:
        runs = {row["folder"]: row for row in csv.DictReader(file)}
    assert {(row["loss"], row["seed"]) for row in runs.values()} == {
        (loss, seed) for loss in ("independent", "deep_supervision", "mcl", "lmcl") for seed in "012"
    }
    start_ups = 5.0 * len(runs)  # not in the seconds of a run
    minutes = ceil((sum(float(row["seconds"]) for row in runs.values()) + start_ups) / 2 / 60)
    assert "four methods on ten images of each digit: twelve runs" in README
    assert f"twelve runs, in under {NUMBERS[minutes]} minutes on two CPU cores" in README


def test_speed_is_measured() -> None:
    _, default, bfloat16 = (row["times"] for row in whole())
    assert f"{default:.1f} (float32) to {bfloat16:.1f} times (bfloat16) the same method as plain loops" in README


def test_table_of_speed_has_the_measured_numbers() -> None:
    text = (ROOT / "docs" / "speed.md").read_text().partition("| the ResNet-32 pair by L-MCL")[2]
    rows = [[float(cell.strip(" s")) for cell in line.split("|")[2:-1]] for line in text.splitlines()[2:5]]
    names = ("step", "round", "ours", "textbook", "times")
    expected: list[list[Any]] = [[row[name] for name in names] for row in whole()]
    for shown, figures in zip(rows, expected, strict=True):
        assert shown == pytest.approx(figures, abs=0.05, rel=0.01)
