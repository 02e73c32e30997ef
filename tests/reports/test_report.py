"""The content of RESULTS.md for finished and failed runs."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.report_pages import cells, study_of, three_seeds
from support.run_folders import write_run

from mcl.__main__ import main
from mcl.errors import UserError
from mcl.runs.lock import FolderLock
from mcl.runs.summary import with_checksum
from mcl.studies.study import Published

Page = Callable[..., str]


def test_equal_networks_are_averaged_before_runs(tmp_path: Path, page: Page) -> None:
    text = page(three_seeds(tmp_path / "runs"))
    # runs 70, 71, 72, each the mean of two networks: deviation 1, interval 4.302653 / sqrt 3 = 2.48
    assert cells(text, "Accuracy", "independent") == ["resnet8", "71.00", "68.52 to 73.48", "1.00", "3"]
    assert "dataset digits and pair resnet8" in text


def test_difference_is_paired_by_seed(tmp_path: Path, page: Page) -> None:
    text = page(three_seeds(tmp_path / "runs"))
    # differences 2, 3, 1, as in the test of the statistics
    found = cells(text, "Differences from the baseline", "lmcl")
    assert found[:7] == ["resnet8", "+2.00", "−0.48 to +4.48", "3", "0.074", "0.074", "+2.00"]
    # power 0.8 of 2 degrees of freedom at 0.05 needs a noncentrality of 5.6535: over sqrt 3, times a deviation of 1
    assert found[7:] == ["±3.26", "no difference shown"]
    assert "With 3 pairs" in text


def test_different_networks_have_a_line_each_and_one_correction(tmp_path: Path, page: Page) -> None:
    for seed, (one, other) in enumerate([(2.0, 1.0), (3.0, 1.5), (1.0, 2.5)]):
        names = ("resnet8", "resnet14")
        write_run(tmp_path / "runs", "independent", seed, [70.0, 75.0], networks=names)
        write_run(tmp_path / "runs", "lmcl", seed, [70.0 + one, 75.0 + other], networks=names)
    text = page(tmp_path / "runs")
    assert cells(text, "Accuracy", "lmcl", "resnet8")[0] == "72.00"
    assert cells(text, "Accuracy", "lmcl", "resnet14")[0] == "76.67"
    first, second = (cells(text, "Differences from the baseline", "lmcl", name) for name in ("resnet8", "resnet14"))
    # t of the second: mean 5/3, deviation sqrt(7/12), t^2 = (25/9) * 3 / (7/12) = 100/7, p = 1 - sqrt(t^2 / (2 + t^2))
    assert (first[3], second[3]) == ("0.074", "0.063")
    assert (first[4], second[4]) == ("0.127", "0.127")  # twice the smaller, and no less for the larger
    assert "over the 2 tests" in text
    # both are tested at 0.025: the noncentrality is 7.9978
    assert first[-2:] == ["±4.62", "no difference shown"]


def test_clear_difference_is_a_finding(tmp_path: Path, page: Page) -> None:
    for seed in range(4):
        write_run(tmp_path / "runs", "independent", seed, [70.0 + seed, 70.0])
        write_run(tmp_path / "runs", "lmcl", seed, [75.0 + seed, 75.0 + 0.1 * seed])
    found = cells(page(tmp_path / "runs"), "Differences from the baseline", "lmcl")
    assert found[-1] == "higher, by more than chance alone would often give"
    assert found[4] == "&lt; 0.001"


def test_one_seed_gives_no_test(tmp_path: Path, page: Page) -> None:
    write_run(tmp_path / "runs", "independent", 0, [70.0, 70.0])
    write_run(tmp_path / "runs", "lmcl", 0, [72.0, 72.0])
    text = page(tmp_path / "runs")
    assert cells(text, "Accuracy", "lmcl") == ["resnet8", "72.00", "–", "–", "1"]
    assert cells(text, "Differences from the baseline", "lmcl") == [
        *("resnet8", "+2.00", "–", "1", "–", "–", "–", "–"),
        "one pair of runs: no deviation and no test; another seed may differ",
    ]
    assert "There is no test" in text


def test_equal_differences_make_the_test_undefined(tmp_path: Path, page: Page) -> None:
    for seed in range(3):
        write_run(tmp_path / "runs", "independent", seed, [70.1 + seed, 70.1 + seed])
        write_run(tmp_path / "runs", "lmcl", seed, [70.4 + seed, 70.4 + seed])
    found = cells(page(tmp_path / "runs"), "Differences from the baseline", "lmcl")
    assert found[1:] == ["+0.30", "–", "3", *"––––", "all 3 differences are equal: no spread, so the test is undefined"]


def test_common_seeds_are_paired_and_others_named(tmp_path: Path, page: Page) -> None:
    for seed in (0, 1, 2):
        write_run(tmp_path / "runs", "independent", seed, [70.0 + seed, 70.0])
    for seed in (1, 2, 3, 4):
        write_run(tmp_path / "runs", "lmcl", seed, [72.0, 72.0])
    text = page(tmp_path / "runs")
    assert cells(text, "Differences from the baseline", "lmcl")[3] == "2"
    assert "- lmcl, resnet8: seeds 3 and 4 only in this row and seed 0 only in the baseline." in text


def test_no_common_seed_gives_no_comparison(tmp_path: Path, page: Page) -> None:
    write_run(tmp_path / "runs", "independent", 0, [70.0, 70.0])
    write_run(tmp_path / "runs", "lmcl", 1, [72.0, 72.0])
    assert "no seed in common: nothing can be compared" in page(tmp_path / "runs")


def test_number_that_is_not_finite_is_left_out_and_named(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    write_run(runs, "lmcl", 3, [72.0, None])
    text = page(runs)
    assert cells(text, "Accuracy", "lmcl")[1] == "73.00"
    assert "- lmcl, resnet8: seed 3 ended without a finite `top1_last`" in text


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


def test_runs_of_older_code_have_no_cost(tmp_path: Path, page: Page) -> None:
    for seed in range(2):
        for loss in ("independent", "mcl"):
            lacking = ("multiply_adds", "training_seconds", "images", "processes", "code")
            write_run(tmp_path / "runs", loss, seed, [70.0 + seed, 70.0], without=lacking)
    write_run(tmp_path / "runs", "lmcl", 0, [70.0, 70.0])
    text = page(tmp_path / "runs")
    assert cells(text, "Cost", "mcl") == ["–", "20.5", "–", "100", "500"]
    assert cells(text, "Cost", "lmcl") == ["4.8 M", "20.0", "10.0", "100", "500"]  # 50 * (40 * 2000 + 2 * 8000)


def test_mixed_code_is_a_warning(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    assert "[!WARNING]" not in page(runs)
    other = {"version": "0.1.0", "commit": "f" * 40, "dirty": True}
    write_run(runs, "lmcl", 3, [70.0, 70.0], summary={"code": other})
    text = page(runs)
    assert "> The runs differ in code and uncommitted changes." in text
    assert cells(text, "Code", "0.1.0 ffffffffff")[-2:] == ["lmcl (1 run)", "1"]


def test_kinds_of_accuracy_are_separate_columns(tmp_path: Path, page: Page) -> None:
    text = page(three_seeds(tmp_path / "runs"))
    # of 69 and 71, 70 and 72, 71 and 73: best epoch one more, best head two more, ensemble three above the better
    assert cells(text, "Which accuracy", "independent", "resnet8") == [
        *("71.00 ± 1.00", "72.00 ± 1.00", "73.00 ± 1.00", "74.00 ± 1.00")
    ]
    assert "chosen on the test part, which makes it too high" in text


def test_ensemble_and_calibration_are_beside_the_accuracy(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    text = page(runs)
    assert cells(text, "Ensemble and calibration", "lmcl", "resnet8") == ["73.00 ± 1.00", "76.00 ± 1.00", "+3.00"]
    assert "The calibration of these runs was not recorded." in text
    for seed, error in enumerate([4.0, 5.0, 6.0]):
        networks = [
            {"key": key, "name": "resnet8", "top1_last": 80.0, "ece_last": error + i}
            for i, key in enumerate(("first", "second"))
        ]
        summary = {"networks": networks, "ensemble": {"top1_last": 81.5, "ece_last": 1.0}}
        write_run(runs, "mcl", seed, [80.0, 80.0], summary=summary)
    text = page(runs)
    calibrated = ["80.00 ± 0.00", "81.50 ± 0.00", "+1.50", "5.50 ± 1.00", "1.00 ± 0.00"]
    assert cells(text, "Ensemble and calibration", "mcl", "resnet8") == calibrated
    assert cells(text, "Ensemble and calibration", "lmcl", "resnet8")[3:] == ["–", "–"]
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        lines = [line for line in csv.DictReader(file) if (line["loss"], line["seed"]) == ("mcl", "2")]
    assert [(line["ece_last"], line["ensemble_ece_last"]) for line in lines] == [("6.0", "1.0"), ("7.0", "1.0")]


def test_other_metrics_can_be_compared(tmp_path: Path, page: Page) -> None:
    text = page(three_seeds(tmp_path / "runs"), metric="ensemble")
    assert cells(text, "Accuracy", "independent")[:2] == ["ensemble", "75.00"]
    assert cells(text, "Differences from the baseline", "lmcl")[1] == "+1.00"


def test_published_numbers_are_beside_measured_ones(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    published = [
        Published({"loss": "lmcl"}, "resnet8", 72.5, 0.14, 3, "A paper"),
        Published({"loss": "lmcl"}, "resnet110", 79.48, None, None, "A paper"),
    ]
    text = page(study=study_of(runs, [0, 1, 2], published=published))
    assert cells(text, "Beside published numbers", "lmcl", "resnet8") == [
        *("72.50 ± 0.14 (3 runs)", "73.00 ± 1.00", "74.00 ± 1.00", "75.00 ± 1.00", "+0.50", "A paper")
    ]
    assert "- lmcl: resnet110 79.48 (A paper)" in text


def test_expensive_row_is_read_midway_at_equal_cost(tmp_path: Path, page: Page) -> None:
    text = page(three_seeds(tmp_path / "runs"))
    # independent: 40 steps of 50 images at 1000 = 2 M. L-MCL: 10 steps and one round 1.4 M, 20 and one 2.4 M: epoch 1
    assert cells(text, "At equal cost", "independent")[1:] == ["71.00 ± 1.00", "71.00 ± 1.00", "4 of 4", "2 M"]
    assert cells(text, "At equal cost", "lmcl")[1:] == ["18.25 ± 0.25", "73.00 ± 1.00", "1 of 4", "2 M"]
    assert "has not finished its learning-rate schedule" in text
    assert "What the loss computes from their features (projection heads, matching layers, similarities) is not" in text


def test_rows_are_named_by_their_differing_settings(tmp_path: Path, page: Page) -> None:
    for tau in (0.1, 0.2):
        write_run(tmp_path / "runs", "mcl", 0, [72.0, 72.0], settings={"loss__tau": tau})
    write_run(tmp_path / "runs", "independent", 0, [70.0, 70.0])
    text = page(tmp_path / "runs")
    assert cells(text, "Accuracy", "mcl", "loss.tau=0.2", "resnet8")[-1] == "1"
    assert cells(text, "Differences from the baseline", "mcl", "loss.tau=0.1")[1] == "+2.00"


def test_rows_with_different_settings_are_not_compared(tmp_path: Path, page: Page) -> None:
    for epochs in (2, 4):
        write_run(tmp_path / "runs", "independent", 0, [70.0, 70.0], curve=[1.0] * epochs)
    write_run(tmp_path / "runs", "mcl", 0, [72.0, 72.0], curve=[1.0] * 8)
    text = page(tmp_path / "runs")
    assert "- mcl, trainer.epochs=8: not compared, because no row has loss=independent and is otherwise equal." in text


def test_setting_that_changes_with_the_loss_is_reported(tmp_path: Path, page: Page) -> None:
    write_run(tmp_path / "runs", "independent", 0, [70.0, 70.0])
    write_run(tmp_path / "runs", "mcl", 0, [72.0, 72.0], settings={"optimizer__lr": 0.2})
    assert "`optimizer.lr` changes with `loss`." in page(tmp_path / "runs")


def test_baseline_can_be_chosen(tmp_path: Path, page: Page) -> None:
    text = page(three_seeds(tmp_path / "runs"), baseline="lmcl")
    assert cells(text, "Differences from the baseline", "independent")[1] == "−2.00"


def test_copy_of_a_run_does_not_count_twice(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    write_run(runs, "lmcl", 0, [99.0, 99.0], folder=runs / "digits/resnet8/zzz")
    text = page(runs)
    assert cells(text, "Accuracy", "lmcl")[1::3] == ["73.00", "3"]
    assert "repeats the settings and the seed of " in text


def test_csv_has_a_line_per_run_and_network(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    write_run(runs, "lmcl", 9, [72.0, 72.0], finished=False)
    page(runs)
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 2 * 2 + 1
    (row,) = [line for line in lines if (line["loss"], line["seed"], line["key"]) == ("lmcl", "1", "second")]
    expected = {"pair": "resnet8", "network": "resnet8", "status": "finished", "top1_last": "74", "top1_best": "75"}
    expected |= {"ensemble_top1_last": "77", "training_multiply_adds_total": "4800000", "equal_cost": "2000000"}
    expected |= {"epoch_at_equal_cost": "1", "top1_at_equal_cost": "18.5", "seconds": "21.0", "code_dirty": "False"}
    assert {key: row[key] for key in expected} == expected
    (open_run,) = [line for line in lines if line["status"] != "finished"]
    assert (open_run["seed"], open_run["status"], open_run["top1_last"]) == ("9", "unfinished", "")


def test_command_writes_identical_files_with_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    arguments = ["report", "runs/digits", "--format", "png", "--format", "svg", "--format", "pdf"]
    plots = ("differences", "curves", "cost", "matching")
    names = {f"{name}.{form}" for name in plots for form in ("png", "svg", "pdf")}
    written = []
    for _ in range(2):
        assert main(arguments) == 0
        assert capsys.readouterr().out == "runs/digits/RESULTS.md\n"
        written.append({file.name: file.read_bytes() for file in (tmp_path / "runs/digits").glob("*.*")})
    assert set(written[0]) == names | {"RESULTS.md", "results.csv"}
    assert written[0] == written[1]
    text = written[0]["RESULTS.md"].decode()
    for name in plots:
        assert re.search(rf"!\[[^\]]{{80,}}\]\({name}\.png\)", text)  # with an alternative text that says something
    assert "python -m mcl report runs/digits --format png --format svg --format pdf" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: there is no such folder."),
        (["empty"], "empty holds no run. Give a folder of runs"),
        (["runs", "--baseline", "lmlc"], "--baseline lmlc: no single factor has this label. Did you mean 'lmcl'?"),
        (["runs", "--baseline", "loss=mcl"], "baseline loss=mcl: there is no such label."),
        (["runs", "--baseline", "los=mcl"], "baseline los=mcl: there is no such factor."),
        (["runs", "--runs", "elsewhere"], "--runs elsewhere: only a study's folder"),
        (["runs", "--out", "mine"], "mine/RESULTS.md was not written by this command"),
        (["runs", "--out", "empty/mine"], "empty/mine/results.csv was not written by this command"),
    ],
)
def test_errors_are_one_message_and_change_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    three_seeds(tmp_path / "runs")
    (tmp_path / "empty" / "mine").mkdir(parents=True)
    (tmp_path / "empty" / "mine" / "results.csv").write_text("my own numbers")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "RESULTS.md").write_text("my own words")
    before = sorted(tmp_path.rglob("*"))
    assert main(["report", *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "mine" / "RESULTS.md").read_text() == "my own words"


def test_study_without_runs_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    lines = ["title: Mine", "vary: {trainer.epochs: [1, 2]}", "seeds: [0, 1]", "baseline: {trainer.epochs: 1}"]
    (tmp_path / "mine" / "study.yaml").write_text("\n".join([*lines, "hold: [trainer.precision=float32]"]))
    assert main(["report", "mine", "--runs", "elsewhere"]) == 0
    text = (tmp_path / "mine" / "RESULTS.md").read_text()
    assert text.splitlines()[2] == "# Mine"
    assert "also 4 missing" in text
    assert "`python sweep.py study=mine runs=elsewhere` starts the missing runs" in text
    assert "- trainer.epochs=2, seeds 0 and 1: planned, and not run yet" in text
    assert "trainer.epochs=2 seed=1 runs=elsewhere" in text


def test_results_are_not_replaced_by_those_of_fewer_runs(tmp_path: Path, page: Page) -> None:
    runs = three_seeds(tmp_path / "runs")
    text = page(study=study_of(runs, [0, 1, 2]))
    for study, lost in ((study_of(tmp_path / "elsewhere", [0, 1, 2]), 6), (study_of(runs, [0, 1]), 2)):
        with pytest.raises(UserError, match=f"RESULTS.md has {lost} finished runs that would be lost"):
            page(study=study)
        assert (tmp_path / "out" / "RESULTS.md").read_text() == text
    assert page(study=study_of(runs, [0, 1, 2, 3])) != text


def test_results_are_not_replaced_by_those_of_other_settings(tmp_path: Path, page: Page) -> None:
    runs = tmp_path / "runs"
    old_report = page(study=study_of(three_seeds(runs), [0, 1, 2]))
    other = {"optimizer__lr": 0.2}
    for loss in ("independent", "lmcl"):
        for seed in range(3):
            write_run(runs, loss, seed, [50.0, 50.0], settings=other)
    for changes in ({}, {"factors": {"method": ["independent", "lmcl"]}, "baseline": {}}):
        study = study_of(runs, [0, 1, 2], other, **changes)
        with pytest.raises(UserError, match=r"has 6 finished runs .* other settings .* independent, seed=0"):
            page(study=study)
    (tmp_path / "out" / "study.yaml").write_text("")  # the folder of a study
    with pytest.raises(UserError, match="has 6 finished runs"):
        page(write_run(tmp_path / "elsewhere", "mcl", 0, [50.0, 50.0]))
    assert (tmp_path / "out" / "RESULTS.md").read_text() == old_report


def test_torch_is_not_needed(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "lmcl", 0, [70.0, 70.0], matching=True)
    code = "import sys, mcl.__main__ as m; m.main(['report', 'runs']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "runs" / "RESULTS.md").is_file()


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
