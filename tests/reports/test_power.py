"""The difference that runs can be expected to show, against scipy and against simulated studies."""

import numpy as np
import pytest
from scipy.stats import nct, t, ttest_1samp

from mcl.reports.power import POWER, detectable, power


@pytest.mark.parametrize(("noncentrality", "freedom"), [(0.0, 4), (1.5, 2), (3.0, 9), (3.0, 200), (6.0, 4)])
def test_power_equals_that_of_the_noncentral_t_distribution(noncentrality: float, freedom: int) -> None:
    critical = t.ppf(0.975, freedom)
    expected = nct.sf(critical, freedom, noncentrality) + nct.cdf(-critical, freedom, noncentrality)
    assert power(noncentrality, freedom, 0.05) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("count", "alpha"), [(2, 0.05), (3, 0.05), (3, 0.01), (10, 0.05 / 72)])
def test_four_of_five_simulated_studies_show_the_detectable_difference(count: int, alpha: float) -> None:
    difference = detectable(count, 2.0, alpha)
    studies = np.random.default_rng(0).normal(difference, 2.0, (20_000, count))
    assert (ttest_1samp(studies, 0.0, axis=1).pvalue < alpha).mean() == pytest.approx(POWER, abs=0.01)


def test_more_pairs_and_a_smaller_spread_show_smaller_differences() -> None:
    assert detectable(10, 1.0, 0.05) < detectable(5, 1.0, 0.05) < detectable(5, 1.0, 0.01)
    assert detectable(5, 2.0, 0.05) == pytest.approx(2 * detectable(5, 1.0, 0.05))
