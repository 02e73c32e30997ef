"""Means, intervals, paired tests and Holm's correction, against numbers worked out by hand."""

import math

import pytest

from mcl.reports.statistics import compare, estimate, holm


def test_mean_deviation_and_interval_of_four_runs() -> None:
    found = estimate([1.0, 2.0, 3.0, 4.0])
    # squares about 2.5: 2.25 + 0.25 + 0.25 + 2.25 = 5, over 3; t of 3 degrees of freedom at 0.975 is 3.182446
    deviation = math.sqrt(5 / 3)
    assert (found.count, found.mean) == (4, 2.5)
    assert found.deviation == pytest.approx(deviation)
    assert found.half_width == pytest.approx(3.182446 * deviation / 2, rel=1e-6)


def test_paired_test_of_three_pairs() -> None:
    found = compare({0: 72.0, 1: 74.0, 2: 73.0}, {0: 70.0, 1: 71.0, 2: 72.0})
    # differences 2, 3, 1: mean 2, deviation 1, t = 2 / (1 / sqrt 3) = sqrt 12
    # of 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2), and the quantile at q is (2q - 1) / sqrt(2 q (1 - q))
    quantile = 0.95 / math.sqrt(2 * 0.975 * 0.025)
    assert found.difference.mean == pytest.approx(2)
    assert found.difference.deviation == pytest.approx(1)
    assert found.difference.half_width == pytest.approx(quantile / math.sqrt(3))
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14))
    assert found.effect == pytest.approx(2)
    assert found.seeds == (0, 1, 2)


def test_paired_test_of_two_pairs() -> None:
    found = compare({7: 71.0, 8: 74.0}, {7: 70.0, 8: 71.0})
    # differences 1, 3: mean 2, deviation sqrt 2, t = 2; of 1 degree of freedom p = 1 - 2/pi * atan t
    assert found.p == pytest.approx(1 - 2 / math.pi * math.atan(2))


def test_a_difference_of_half_the_interval_has_a_p_of_one_in_twenty() -> None:
    spread = [-1.0, 0.0, 1.0, 4.0]
    half = estimate(spread).half_width
    assert half is not None
    shift = half - sum(spread) / 4  # now the mean is half the interval
    found = compare({i: 50 + value + shift for i, value in enumerate(spread)}, dict.fromkeys(range(4), 50.0))
    assert found.p == pytest.approx(0.05)


def test_only_equal_seeds_are_paired_and_the_others_named() -> None:
    found = compare({0: 1.0, 2: 5.0, 3: 3.0}, {1: 9.0, 2: 4.0, 3: 1.0, 4: 9.0})
    assert found.difference.mean == pytest.approx((1 + 2) / 2)
    assert (found.seeds, found.unpaired, found.baseline_unpaired) == ((2, 3), (0,), (1, 4))


def test_one_pair_has_a_difference_and_nothing_else() -> None:
    found = compare({0: 71.0}, {0: 70.0})
    assert found.difference.mean == 1
    assert (found.difference.deviation, found.difference.half_width, found.p, found.effect) == (None, None, None, None)


def test_no_pair_has_nothing() -> None:
    found = compare({0: 71.0}, {1: 70.0})
    assert (found.difference.count, found.difference.mean, found.p) == (0, None, None)


@pytest.mark.parametrize("base", [70.0, 70.1, 33.333333])
def test_equal_differences_leave_the_test_undefined_however_they_are_rounded(base: float) -> None:
    found = compare({0: base + 0.3, 1: base + 20.3, 2: base + 7.3}, {0: base, 1: base + 20, 2: base + 7})
    assert found.no_spread
    assert found.difference.mean == pytest.approx(0.3)
    assert (found.p, found.effect, found.difference.half_width) == (None, None, None)


def test_equal_runs_are_no_spread_at_all() -> None:
    assert compare({0: 5.0, 1: 6.0}, {0: 5.0, 1: 6.0}).no_spread


def test_one_run_has_no_deviation_and_equal_runs_no_interval() -> None:
    assert (estimate([70.0]).deviation, estimate([70.0]).half_width) == (None, None)
    assert (estimate([70.0, 70.0]).deviation, estimate([70.0, 70.0]).half_width) == (0, None)
    assert estimate([]).mean is None


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_never_falls() -> None:
    # 0.01 * 3 = 0.03; 0.03 * 2 = 0.06; 0.04 * 1 = 0.04, but not below the one before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_ends_at_one_and_leaves_a_single_test_alone() -> None:
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
