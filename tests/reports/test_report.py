"""The content of RESULTS.md for finished and failed runs."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from support.report_pages import cells, study_of, three_seeds
from support.run_folders import write_run

from mcl.errors import UserError
from mcl.reports.rows import parse_baseline
from mcl.runs.reading import find_runs, read_run
from mcl.studies.study_page import Published

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
    assert "over the 2 comparisons of this table" in text
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


def test_runs_of_older_code_have_no_cost(tmp_path: Path, page: Page) -> None:
    for seed in range(2):
        for loss in ("independent", "mcl"):
            lacking = ("multiply_adds", "training_seconds", "images", "processes", "code")
            write_run(tmp_path / "runs", loss, seed, [70.0 + seed, 70.0], without=lacking)
    write_run(tmp_path / "runs", "lmcl", 0, [70.0, 70.0])
    text = page(tmp_path / "runs")
    assert cells(text, "Cost", "mcl") == ["–", "20.5", "–", "100", "500"]
    assert cells(text, "Cost", "lmcl") == ["4.8 M", "20.0", "10.0", "100", "500"]  # 50 * (40 * 2000 + 2 * 8000)


def test_parameters_and_memory_of_training_are_columns(tmp_path: Path, page: Page) -> None:
    for seed, process in enumerate([3_000_000, 5_000_000]):
        memory = {"training_parameters": 1_200_000, "peak_memory": {"process": process}}
        write_run(tmp_path / "runs", "mcl", seed, [70.0, 70.0], summary=memory)
    write_run(tmp_path / "runs", "lmcl", 0, [70.0, 70.0], summary={"peak_memory": {"gpu": 7_000_000_000}})
    write_run(tmp_path / "runs", "lmcl", 1, [70.0, 70.0])
    text = page(tmp_path / "runs")
    assert "training, parameters | peak memory on the GPU, bytes | peak memory of the process, bytes" in text
    assert cells(text, "Cost", "mcl")[-4:] == ["1.2 M", "–", "4 M", "500"]
    assert cells(text, "Cost", "lmcl")[-4:] == ["–", "7 G (1 of 2 runs)", "–", "500"]


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


def test_label_with_a_comma_can_be_typed_alone() -> None:
    factors = {"arm": ["lmcl", "lmcl, tuned"], "pair": ["resnet8", "resnet14"]}
    assert (
        parse_baseline("lmcl, tuned", factors) == parse_baseline("arm=lmcl, tuned", factors) == {"arm": "lmcl, tuned"}
    )
    with pytest.raises(UserError, match="tuned: no single factor has this label"):
        parse_baseline("arm=lmcl, tuned,pair=resnet8", factors)


@pytest.mark.parametrize("given", ["loss=mcl,loss=lmcl", "loss=mcl,lmcl", "mcl,lmcl"])
def test_two_baselines_of_one_factor_are_refused(given: str) -> None:
    with pytest.raises(UserError, match=f"--baseline {given}: loss has one label, not mcl and lmcl"):
        parse_baseline(given, {"loss": ["independent", "mcl", "lmcl"]})


def test_baseline_can_be_chosen(tmp_path: Path, page: Page) -> None:
    text = page(three_seeds(tmp_path / "runs"), baseline="lmcl")
    assert cells(text, "Differences from the baseline", "independent")[1] == "−2.00"


def test_runs_of_a_named_dataset_are_joined_wherever_they_were_copied(tmp_path: Path, page: Page) -> None:
    for seed, place in enumerate(("photos", "ä b")):
        folder = write_run(tmp_path / "runs", "lmcl", seed, [70.0, 70.0], settings={"dataset__name": "photos"})
        copy = tmp_path / "runs" / place / Path(*folder.parts[-3:])
        copy.parent.mkdir(parents=True)
        folder.rename(copy)
    text = page(tmp_path / "runs")
    assert "2 finished runs in 1 row" in text
    assert "dataset photos and pair resnet8" in text


def test_a_row_of_one_seed_is_compared_if_the_seed_of_its_data_follows(tmp_path: Path, page: Page) -> None:
    for loss, seeds in {"independent": 3, "mcl": 3, "lmcl": 1}.items():
        for seed in range(seeds):
            write_run(tmp_path / "runs", loss, seed, [70.0 + seed, 70.0], settings={"dataset__seed": seed})
    text = page(tmp_path / "runs")
    assert "not compared" not in text
    assert cells(text, "Differences from the baseline", "lmcl")[1:4] == ["0.00", "–", "1"]


def test_an_ensemble_is_compared_with_the_networks_of_its_own_runs(tmp_path: Path, page: Page) -> None:
    write_run(tmp_path / "runs", "lmcl", 0, [70.0, 70.0], without=("ensemble",))
    for seed, top1 in ((1, 80.0), (2, 90.0)):  # their ensembles are 3 points better
        write_run(tmp_path / "runs", "lmcl", seed, [top1, top1])
    found = cells(page(tmp_path / "runs"), "Ensemble and calibration", "lmcl", "resnet8")
    assert found == ["80.00 ± 10.00", "88.00 ± 7.07", "+3.00"]


def test_runs_are_read_once_with_another_baseline_too(
    tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr("mcl.reports.rows.read_run", lambda folder: read.append(folder) or read_run(folder))
    page(three_seeds(tmp_path / "runs"), baseline="lmcl")
    assert sorted(read) == find_runs(tmp_path / "runs")


def test_unreadable_runs_are_named_with_another_baseline_too(tmp_path: Path, page: Page) -> None:
    (write_run(tmp_path / "runs", "lmcl", 0, [70, 70]) / "config.yaml").write_text("{")
    with pytest.raises(UserError, match="No run was found that can be read"):
        page(tmp_path / "runs", baseline="loss=lmcl")
