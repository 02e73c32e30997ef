"""The answer to a study's claim: does a gain survive the baseline at equal cost and the tuned one?"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.report_pages import cells, study_of
from support.run_folders import write_run

from mcl.errors import UserError
from mcl.reports.comparisons import _pairs
from mcl.reports.rows import Row, Rows
from mcl.studies.claim import Claim, check_claim
from mcl.studies.planned_run import PlannedRun
from mcl.studies.study import Study

Page = Callable[..., str]
NOISE = (-0.2, 0.1, 0.0, 0.3, -0.2)  # of the seeds, around zero
SPREAD = (0.05, -0.05, 0.1, -0.1, 0.0)  # of the differences


def claim_study(runs: Path, means: Mapping[str, float | None], claim: Claim, seeds: int = 5) -> Study:
    """Return a study with a row of runs for each mean. A row whose mean is None has not run."""
    planned: list[PlannedRun] = []
    for number, (arm, mean) in enumerate(means.items()):
        loss = "lmcl" if arm.startswith("lmcl") else "independent"
        for seed in range(seeds):
            top1 = 0.0 if mean is None else mean + NOISE[seed] + (SPREAD[(seed + number) % 5] if number else 0)
            settings = {"optimizer__lr": 0.1 + number / 100}
            folder = write_run(
                *(runs, loss, seed, [top1, top1]),
                settings=settings,
                finished=mean is not None,
                folder=runs / arm.replace(" ", "_") / str(seed),
            )
            planned.append(PlannedRun({"arm": arm}, seed, [f"arm={arm}"], folder))
    baseline = {"arm": "independent"}
    return replace(study_of(runs, []), factors={"arm": list(means)}, baseline=baseline, runs=planned, claim=claim)


def arms(*names: str) -> list[dict[str, str]]:
    return [{"arm": name} for name in names]


FULL = Claim({"arm": "lmcl"}, {"arm": "independent long"}, {"arm": "independent tuned"})


def first_paragraph(text: str) -> str:
    return text.split("\n\n")[2]


def test_runs_without_a_seed_in_common_have_no_accuracy_to_compare(tmp_path: Path, page: Page) -> None:
    study = claim_study(tmp_path / "runs", {"independent": 70.0, "lmcl": 72.0}, Claim({"arm": "lmcl"}), seeds=2)
    for arm, seed in (("independent", 0), ("lmcl", 1)):
        (tmp_path / "runs" / arm / str(seed) / "summary.json").unlink()
    text = first_paragraph(page(study=study))
    assert "lmcl minus independent: no seed in common, at 2.40 × its multiply-adds" in text
    assert "Not shown: no seed in common: nothing can be compared." in text


@pytest.mark.parametrize(
    ("long", "tuned", "answer", "parts"),
    [
        (
            *(70.2, 70.5),
            "a gain is shown over the baseline, and over the baseline at less than equal cost and the tuned baseline",
            [
                "(independent long, 0.42 × the multiply-adds of the method: less than equal cost): +1.80 points",
                "the gain survives",
            ],
        ),
        (
            *(72.0, 70.5),
            "a gain is shown over the baseline, and over the tuned baseline,"
            " but not over the baseline at less than equal cost",
            ["the gain does not survive: no difference is shown (one of 0."],
        ),
        (
            *(74.0, 70.5),
            "a gain is shown over the baseline, and over the tuned baseline,"
            " but not over the baseline at less than equal cost",
            ["the gain does not survive: the method is lower"],
        ),
        (
            *(None, 72.0),
            "a gain is shown over the baseline, but not over the tuned baseline;"
            " the baseline at equal cost is not tested",
            ["Against the baseline at equal cost: not tested, because no runs of equal seed have finished."],
        ),
    ],
)
def test_first_paragraph_says_whether_a_gain_survives(
    long: float | None, tuned: float | None, answer: str, parts: Sequence[str], tmp_path: Path, page: Page
) -> None:
    means = {"independent": 70.0, "lmcl": 72.0, "independent long": long, "independent tuned": tuned}
    text = first_paragraph(page(study=claim_study(tmp_path / "runs", means, FULL)))
    assert text.startswith(f"**resnet8: {answer}.** lmcl minus independent: +2.00 points (95 % interval +1.")
    assert "5 pairs of equal seed; p &lt; 0.001 after Holm's correction over " in text.replace("p < ", "p &lt; ")
    assert ", at 2.40 × its multiply-adds. Against" in text
    for part in parts:
        assert part in text


def test_gain_that_is_not_shown_is_said_so_with_the_difference_that_could_be_shown(tmp_path: Path, page: Page) -> None:
    means = {"independent": 70.0, "lmcl": 70.02, "independent long": 70.0, "independent tuned": 70.5}
    text = first_paragraph(page(study=claim_study(tmp_path / "runs", means, FULL)))
    assert text.startswith("**resnet8: a gain is not shown.**")
    assert "its multiply-adds. With the spread of these runs, a true difference of 0." in text
    assert "; the method is lower." in text  # than the tuned baseline


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        ({1, 2, 3, 4}, "+2.00 points (1 pair of equal seed); not tested: one pair of runs"),
        (set(range(5)), "Against the baseline at equal cost: not tested, because no runs of equal seed have finished."),
    ],
)
def test_gain_is_not_lost_to_a_control_with_too_few_runs_to_test(
    left: set[int], reason: str, tmp_path: Path, page: Page
) -> None:
    means = {"independent": 70.0, "lmcl": 72.0, "independent long": 70.0, "independent tuned": 70.0}
    study = claim_study(tmp_path / "runs", means, FULL)
    for seed in left:
        shutil.rmtree(tmp_path / "runs" / "independent_long" / str(seed))
    text = first_paragraph(page(study=study))
    assert "a gain is shown over the baseline, and over the tuned baseline; the baseline at equal cost is not t" in text
    assert re.sub(r"\+[\d.]+ points \(1", "+2.00 points (1", text).count(reason) == 1


def test_baseline_may_itself_be_tuned(tmp_path: Path, page: Page) -> None:
    claim = Claim({"arm": "lmcl"}, {"arm": "independent long"}, {"arm": "independent"})
    means = {"independent": 70.0, "lmcl": 72.0, "independent long": 70.2}
    text = first_paragraph(page(study=claim_study(tmp_path / "runs", means, claim)))
    assert "a gain is shown over the tuned baseline, and over the baseline at less than equal cost.**" in text
    assert "over 2 comparisons" in text
    assert text.endswith("The baseline itself is tuned.")
    check_claim("study.yaml", claim, {"arm": "independent"}, {"arm": list(means)})
    with pytest.raises(UserError, match="equal_cost and baseline are the same row"):
        check_claim("study.yaml", replace(claim, equal_cost=claim.tuned), claim.tuned, {"arm": list(means)})


def test_tuned_settings_may_be_a_factor(tmp_path: Path, page: Page) -> None:
    tuned = {"settings": "tuned", "arm": "independent"}
    means = {"independent": 70.0, "lmcl": 72.0, "independent tuned": 73.0, "lmcl tuned": 75.0}
    study = claim_study(tmp_path / "runs", means, Claim({"arm": "lmcl"}, tuned=tuned))
    labels = {arm: {"settings": "tuned" if "tuned" in arm else "usual", "arm": arm.split()[0]} for arm in means}
    runs = [replace(run, labels=labels[run.labels["arm"]]) for run in study.runs]
    factors = {"settings": ["usual", "tuned"], "arm": ["independent", "lmcl"]}
    usual, with_tuned = page(study=replace(study, factors=factors, runs=runs)).split("\n\n")[2:4]
    assert usual.startswith("**usual, resnet8: a gain is shown over the baseline, but not over the tuned baseline;")
    assert re.search(r"Against the tuned baseline \(tuned, independent\): −1\.\d\d points .*the method is lower", usual)
    assert "over 3 comparisons" in usual, "two gains, and the method with usual settings against the tuned baseline"
    assert with_tuned.startswith("**tuned, resnet8: a gain is shown over the tuned baseline;")
    assert with_tuned.endswith("The baseline itself is tuned.")


def test_method_below_its_baseline_and_a_study_without_controls(tmp_path: Path, page: Page) -> None:
    study = claim_study(tmp_path / "runs", {"independent": 70.0, "lmcl": 68.0}, Claim({"arm": "lmcl"}))
    text = first_paragraph(page(study=study))
    assert text.startswith("**resnet8: the method is lower than its baseline.**")
    assert "The study has no row that is the baseline at equal cost." in text
    assert "The study has no row that is the tuned baseline." in text


def test_study_without_runs_of_the_method_is_not_shown_yet(tmp_path: Path, page: Page) -> None:
    study = claim_study(tmp_path / "runs", {"independent": 70.0, "lmcl": None}, FULL)
    assert first_paragraph(page(study=study)).startswith("**Not shown yet.** No run of arm = lmcl")


def test_claim_is_a_family_of_its_own(tmp_path: Path, page: Page) -> None:
    """The comparisons of the claim are corrected over three, the others over the rest: three rows and an ablation."""
    means = {"independent": 70.0, "lmcl": 70.6, "independent long": 70.3, "independent tuned": 70.1, "lmcl one": 70.3}
    claim = Claim(FULL.method, FULL.equal_cost, FULL.tuned, {"matching": arms("lmcl one")})
    text = page(study=claim_study(tmp_path / "runs", means, claim))
    assert "over the 3 comparisons of the study's claim (method against baseline and controls), and separately" in text
    assert "over the 4 other comparisons that it plans" in text
    other = cells(text, "Differences from the baseline", "independent tuned")
    p, corrected = float(other[4]), float(other[5])
    assert corrected == pytest.approx(p, abs=2e-3)  # the largest p of its family, so it is not multiplied


def test_rows_of_two_networks_count_twice_before_they_have_run() -> None:
    rows = [Row({"loss": loss}, [], kinds=2) for loss in ("independent", "mcl")]
    both = Rows({"loss": ["independent", "mcl"]}, rows, {"loss": "independent"}, {"loss"}, planned=True)
    assert _pairs(both, rows[1], {"loss": "independent"}, "top1_last") == ([], 2, [])


@pytest.mark.parametrize("one", [None, 69.0])
def test_a_finding_does_not_depend_on_how_many_other_rows_have_run(
    one: float | None, tmp_path: Path, page: Page
) -> None:
    means = {"independent": 70.0, "lmcl": 72.0, "dml": 70.08, "lmcl one": one, "lmcl two": one}
    claim = Claim({"arm": "lmcl"}, {"arm": "independent long"}, ablations={"matching": arms("lmcl one", "lmcl two")})
    text = page(study=claim_study(tmp_path / "runs", {**means, "independent long": one}, claim))
    assert "over 2 comparisons" in first_paragraph(text)
    assert "over the 6 other comparisons that it plans" in text
    (found,) = [line for line in text.splitlines() if line.startswith("| dml, resnet8 | +")]
    p, corrected = (float(value) for value in found.split(" | ")[4:6])
    smaller = 0 if one is None else 5
    assert corrected == pytest.approx((6 - smaller) * p, abs=4e-3)


def test_ablations_show_what_each_thing_adds(tmp_path: Path, page: Page) -> None:
    means = {"independent": 70.0, "lmcl": 72.0, "lmcl without vcl": 71.0, "lmcl one": 72.0}
    questions = {"terms of the loss": arms("lmcl without vcl"), "learned matching": arms("lmcl one")}
    text = page(study=claim_study(tmp_path / "runs", means, Claim({"arm": "lmcl"}, ablations=questions)))
    vcl = cells(text, "Terms of the loss", "lmcl without vcl")
    assert vcl[:3] == ["resnet8", "+1.00", "+1.00"]  # over the baseline; what the method adds to the row
    assert vcl[-1] == "higher, by more than chance alone would often give"
    assert cells(text, "Learned matching", "lmcl one")[1:3] == ["+2.00", "0.00"]


def test_tables_for_a_paper_begin_with_the_answer(tmp_path: Path, page: Page) -> None:
    study = claim_study(tmp_path / "runs", {"independent": 70.0, "lmcl": 72.0}, Claim({"arm": "lmcl"}))
    text = page(study=study, latex=True)
    latex = (tmp_path / "out" / "tables.tex").read_text()
    answer = first_paragraph(text).split(".**")[0].strip("*")
    assert latex.index(f"\\paragraph{{{answer}.}} lmcl minus independent: +2.0") < latex.index("\\begin{table}")


def test_claim_is_left_out_if_another_baseline_is_asked_for(tmp_path: Path, page: Page) -> None:
    means = {"independent": 70.0, "lmcl": 72.0, "independent long": 72.0, "independent tuned": 70.5}
    text = page(study=claim_study(tmp_path / "runs", means, FULL), baseline="independent tuned")
    assert "at equal cost" not in first_paragraph(text)
    assert "## What these runs show" in text
