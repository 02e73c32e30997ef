"""Intervals of accuracies against published and exact values."""

import pytest
from scipy.stats import binomtest

from mcl.intervals import paired_difference, wilson


@pytest.mark.parametrize(("correct", "images"), [(0, 10), (10, 10), (81, 263), (9_000, 10_000)])
def test_wilson_interval_is_that_of_scipy(correct: int, images: int) -> None:
    expected = binomtest(correct, images).proportion_ci(method="wilson")
    assert wilson(correct, images) == pytest.approx((100 * expected.low, 100 * expected.high))


def test_paired_difference_is_that_of_agresti_and_min() -> None:
    lost, gained, images = 20, 5, 100
    result = paired_difference(lost, gained, images)
    assert result.difference == pytest.approx(-15)
    middle = -15 / 102  # half an image in each of four cells
    half = 1.959964 * (26 - 15**2 / 102) ** 0.5 / 102
    assert result.interval == pytest.approx((100 * (middle - half), 100 * (middle + half)), rel=1e-5)
    assert result.p == pytest.approx(binomtest(5, 25).pvalue)


def test_classifiers_that_agree_have_an_interval_around_zero() -> None:
    result = paired_difference(0, 0, 50)
    assert (result.difference, result.p) == (0, 1)
    assert result.interval.low == pytest.approx(-result.interval.high)
    assert result.interval.high > 1
