"""Intervals around accuracies: of one network, of draws, and of two networks on the same images."""

import math
from typing import NamedTuple

LEVEL = 0.95  # confidence level of all intervals


class Interval(NamedTuple):
    """The ends of an interval."""

    low: float
    high: float


class PairedDifference(NamedTuple):
    """How much more often a second classifier is right than a first one, on the same images; in percent."""

    difference: float
    interval: Interval
    p: float  # of McNemar's exact test, two-sided


def half_width(count: int, deviation: float, alpha: float = 1 - LEVEL) -> float:
    """Return half the width of the interval of level ``1 - alpha`` around the mean of ``count`` >= 2 numbers.

    It is also the smallest distance from zero at which their mean has p = ``alpha`` in a two-sided t-test.
    """
    from scipy.stats import t

    return float(t.ppf(1 - alpha / 2, count - 1)) * deviation / math.sqrt(count)


def wilson(correct: int, images: int) -> Interval:
    """Return Wilson's score interval of an accuracy, in percent (Wilson, JASA 1927); ``images`` >= 1.

    It stands for the choice of the test images, not for the seed of training.
    """
    from scipy.stats import binomtest

    low, high = binomtest(correct, images).proportion_ci(LEVEL, method="wilson")
    return Interval(100 * float(low), 100 * float(high))


def paired_difference(lost: int, gained: int, images: int) -> PairedDifference:
    """Compare two classifiers on the same images.

    The interval is Wald's after half an image was added to each cell of the table (Agresti and Min, Statistics in
    Medicine 2005), so that classifiers that agree on all images have an interval, too.

    Args:
        lost: images that only the first classifies correctly.
        gained: images that only the second classifies correctly.
        images: all of them, at least 1.
    """
    from scipy.stats import binomtest, norm

    total, apart = images + 2, gained - lost
    half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(lost + gained + 1 - apart**2 / total) / total
    p = float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
    middle = apart / total
    return PairedDifference(100 * apart / images, Interval(100 * (middle - half), 100 * (middle + half)), p)
