"""Conclusions of comparisons: findings agree with the limit of significance."""

from pathlib import Path

import pytest
from support.run_folders import write_run

from mcl.reports.comparisons import ALPHA, differences
from mcl.reports.rows import rows_of_folders
from mcl.runs.reading import find_runs

SPREAD = (-1.0, 0.25, 0.75)  # of mean 0


@pytest.mark.parametrize("findings", [0, 1])
def test_significance_limit_separates_findings(findings: int, tmp_path: Path) -> None:
    """Move one of three comparisons to just below its limit and just above: only then is it a finding."""

    def compared(folder: str, shift: float) -> tuple[float, float]:
        """Return Holm's p and the limit of the comparison of MCL, whose differences have the mean ``shift``."""
        means = {"deep_supervision": 90.0 if findings else 0.2, "lmcl": 0.1, "mcl": shift}
        for seed, deviation in enumerate(SPREAD):
            write_run(tmp_path / folder, "independent", seed, [5.0 + seed] * 2)
            for loss, mean in means.items():
                write_run(tmp_path / folder, loss, seed, [5.0 + seed + mean + deviation] * 2)
        compared_rows, _ = differences(rows_of_folders(find_runs(tmp_path / folder)), "top1_last")
        others = [one for one in compared_rows if one.holm is not None and one.row.labels["loss"] != "mcl"]
        assert sum(one.holm < ALPHA for one in others) == findings
        (mcl,) = [one for one in compared_rows if one.row.labels["loss"] == "mcl"]
        assert mcl.holm is not None
        assert mcl.limit is not None
        return mcl.holm, mcl.limit

    p, limit = compared("zero", 0.0)
    assert p > ALPHA
    assert compared("below", 0.999 * limit)[0] > ALPHA
    assert compared("above", 1.001 * limit)[0] < ALPHA
