"""Means, intervals, paired tests and Holm's correction, against numbers computed by hand."""

import math

import pytest

from mcl.reports.markdown import probability
from mcl.reports.statistics import compare, estimate, holm


def test_mean_deviation_and_interval_of_four_runs() -> None:
    result = estimate([1.0, 2.0, 3.0, 4.0])
    # squares about 2.5: 2.25 + 0.25 + 0.25 + 2.25 = 5, over 3; t of 3 degrees of freedom at 0.975 is 3.182446
    deviation = math.sqrt(5 / 3)
    assert (result.count, result.mean) == (4, 2.5)
    assert result.deviation == pytest.approx(deviation)
    assert result.half_width == pytest.approx(3.182446 * deviation / 2, rel=1e-6)


def test_paired_test_of_three_pairs() -> None:
    result = compare({0: 72.0, 1: 74.0, 2: 73.0}, {0: 70.0, 1: 71.0, 2: 72.0})
    # differences 2, 3, 1: mean 2, deviation 1, t = 2 / (1 / sqrt 3) = sqrt 12
    # of 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2), and the quantile at q is (2q - 1) / sqrt(2 q (1 - q))
    quantile = 0.95 / math.sqrt(2 * 0.975 * 0.025)
    assert result.difference.mean == pytest.approx(2)
    assert result.difference.deviation == pytest.approx(1)
    assert result.difference.half_width == pytest.approx(quantile / math.sqrt(3))
    assert result.p == pytest.approx(1 - math.sqrt(12 / 14))
    assert result.effect == pytest.approx(2)
    assert result.seeds == (0, 1, 2)


def test_paired_test_of_two_pairs() -> None:
    result = compare({7: 71.0, 8: 74.0}, {7: 70.0, 8: 71.0})
    # differences 1, 3: mean 2, deviation sqrt 2, t = 2; of 1 degree of freedom p = 1 - 2/pi * atan t
    assert result.p == pytest.approx(1 - 2 / math.pi * math.atan(2))


def test_difference_at_the_interval_limit_has_p_of_0_05() -> None:
    spread = [-1.0, 0.0, 1.0, 4.0]
    half = estimate(spread).half_width
    assert half is not None
    shift = half - sum(spread) / 4  # now the mean is half the interval
    result = compare({i: 50 + value + shift for i, value in enumerate(spread)}, dict.fromkeys(range(4), 50.0))
    assert result.p == pytest.approx(0.05)


def test_only_equal_seeds_are_paired_and_the_others_named() -> None:
    result = compare({0: 1.0, 2: 5.0, 3: 3.0}, {1: 9.0, 2: 4.0, 3: 1.0, 4: 9.0})
    assert result.difference.mean == pytest.approx((1 + 2) / 2)
    assert (result.seeds, result.unpaired, result.baseline_unpaired) == ((2, 3), (0,), (1, 4))


def test_one_pair_has_only_a_difference() -> None:
    result = compare({0: 71.0}, {0: 70.0})
    assert result.difference.mean == 1
    assert (result.difference.deviation, result.difference.half_width, result.p, result.effect) == (
        None,
        None,
        None,
        None,
    )


def test_no_pairs_give_no_statistics() -> None:
    result = compare({0: 71.0}, {1: 70.0})
    assert (result.difference.count, result.difference.mean, result.p) == (0, None, None)


@pytest.mark.parametrize("base", [70.0, 70.1, 33.333333])
def test_equal_differences_leave_the_test_undefined_however_they_are_rounded(base: float) -> None:
    result = compare({0: base + 0.3, 1: base + 20.3, 2: base + 7.3}, {0: base, 1: base + 20, 2: base + 7})
    assert result.no_spread
    assert result.difference.mean == pytest.approx(0.3)
    assert (result.p, result.effect, result.difference.half_width) == (None, None, None)


def test_equal_differences_have_no_spread() -> None:
    assert compare({0: 5.0, 1: 6.0}, {0: 5.0, 1: 6.0}).no_spread


def test_one_run_has_no_deviation_and_equal_runs_no_interval() -> None:
    assert (estimate([70.0]).deviation, estimate([70.0]).half_width) == (None, None)
    assert (estimate([70.0, 70.0]).deviation, estimate([70.0, 70.0]).half_width) == (0, None)
    assert estimate([]).mean is None


def test_holm_correction_is_stepwise_and_monotone() -> None:
    # 0.01 * 3 = 0.03; 0.03 * 2 = 0.06; 0.04 * 1 = 0.04, but not below the one before
    assert holm([0.01, 0.04, 0.03], 3) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_counts_tests_that_were_not_made() -> None:
    assert holm([0.01, 0.04], 4) == pytest.approx([0.04, 0.12])


def test_p_close_to_the_level_has_the_digits_that_decide() -> None:
    assert [probability(p) for p in (0.04996, 0.05004, 0.0494, 0.0004)] == ["0.04996", "0.05004", "0.049", "< 0.001"]


def test_holm_is_capped_at_one_and_keeps_a_single_test() -> None:
    assert holm([0.6, 0.7], 2) == [1.0, 1.0]
    assert holm([0.02], 1) == [0.02]
    assert holm([], 0) == []
