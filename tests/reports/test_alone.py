"""The gain of a network over training alone, in a report."""

from collections.abc import Callable
from pathlib import Path

from support.report_pages import cells
from support.run_folders import write_run

Page = Callable[..., str]
ALONE = {"loss___target_": "mcl.losses.independent.Independent"}


def partners(runs: Path, **settings: object) -> Path:
    for seed, gain in enumerate((2.0, 3.0, 1.0)):
        write_run(runs, "independent", seed, [70.0 + seed], networks=("resnet8",), settings={**ALONE, **settings})
        both, deployed = ("resnet8", "resnet20"), {"deployed": ["first"]}
        write_run(runs, "mcl", seed, [70.0 + seed + gain, 90.0], networks=both, summary=deployed)
    return runs


def test_a_network_with_a_partner_is_compared_with_itself_alone(tmp_path: Path, page: Page) -> None:
    found = cells(page(partners(tmp_path / "runs"), latex=True), "Gain over training alone", "mcl")
    assert found[-4:] == ["71.00", "+2.00", "−0.48 to +4.48", "3"]
    assert "71.00 & +2.00 & $-$0.48 to +4.48 & 3" in (tmp_path / "out" / "tables.tex").read_text()


def test_other_training_is_no_counterpart(tmp_path: Path, page: Page) -> None:
    assert "Gain over training alone" not in page(partners(tmp_path / "runs", trainer__epochs=9))
