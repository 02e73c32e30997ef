"""The smallest difference that a paired t-test can be expected to show."""

import math
from functools import lru_cache

POWER = 0.8  # probability of finding the difference, if it is there
STEPS, REACH = 2001, 8.0  # of the integral over a standard normal variable


def detectable(count: int, deviation: float, alpha: float) -> float:
    """Return the true mean difference that ``count`` >= 2 pairs show with the probability `POWER`.

    Args:
        count: number of pairs.
        deviation: standard deviation of their differences.
        alpha: level of significance of the two-sided test.
    """
    return _noncentrality(count - 1, alpha) * deviation / math.sqrt(count)


def power(noncentrality: float, freedom: int, alpha: float) -> float:
    """Return the probability of ``p < alpha`` in a two-sided t-test.

    Args:
        noncentrality: true mean, divided by its standard error.
        freedom: degrees of freedom, n - 1.
        alpha: level of significance.
    """
    import numpy as np
    from scipy.special import chdtr, stdtrit

    critical = stdtrit(freedom, 1 - alpha / 2)
    # T = (Z + noncentrality) / S with S^2 = chi^2 / freedom is beyond the critical value if S is below this bound, so
    # the probability is an integral over Z. It stays exact where scipy.stats.nct gives NaN.
    z = np.linspace(-REACH, REACH, STEPS)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    bound = np.abs(z + noncentrality) / critical
    return float(np.sum(density * chdtr(freedom, freedom * bound**2)) * (z[1] - z[0]))


@lru_cache
def _noncentrality(freedom: int, alpha: float) -> float:
    from scipy.optimize import brentq

    high = 1.0
    while power(high, freedom, alpha) < POWER:
        high *= 2
    return float(brentq(lambda value: power(value, freedom, alpha) - POWER, 0.0, high))
