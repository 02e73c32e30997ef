"""Statistics of a few runs: means with intervals, and differences paired by seed.

A run is the unit: of one run there is one number. Everything is in the unit of what comes in.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.95  # of the intervals; 1 - LEVEL is what p-values are held against
ROUNDING = 1e-9  # a spread below this, relative to the numbers, is rounding and counts as zero


@dataclass(frozen=True)
class Estimate:
    """A mean over runs.

    Args:
        count: runs.
        mean: None of no run.
        deviation: standard deviation of a sample (divided by count - 1); None of fewer than two runs.
        half_width: of the interval of Student's t around the mean; None of fewer than two runs, and of runs that are
            all equal, for then it would say that nothing else can happen.
    """

    count: int
    mean: float | None = None
    deviation: float | None = None
    half_width: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Differences of runs of equal seed, ours less theirs.

    Args:
        difference: mean, deviation and interval of the differences.
        p: of the paired t-test, two-sided; None where it is undefined.
        effect: Cohen's d_z: mean over deviation of the differences; None where that is undefined.
        seeds: that both have.
        only_ours, only_theirs: seeds that the other side lacks, which are left out.
    """

    difference: Estimate
    p: float | None
    effect: float | None
    seeds: tuple[int, ...]
    only_ours: tuple[int, ...]
    only_theirs: tuple[int, ...]

    @property
    def no_spread(self) -> bool:
        """Whether all differences are equal, so that a test divides by zero."""
        return self.difference.deviation == 0


def estimate(values: Sequence[float], scale: float | None = None) -> Estimate:
    """Mean, deviation and interval of finite numbers, one of each run.

    Args:
        values: the numbers.
        scale: how large the numbers are that they were computed from, where that is not their own size.
    """
    if not values:
        return Estimate(0)
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(1, mean)
    deviation = statistics.stdev(values)
    if deviation <= ROUNDING * (scale if scale is not None else max(map(abs, values))):
        return Estimate(len(values), mean, 0.0)
    return Estimate(len(values), mean, deviation, half_width(len(values), deviation, 1 - LEVEL))


def compare(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Comparison:
    """Compare two sets of runs, each given as ``{seed: value}``, on the seeds that both have."""
    seeds = tuple(sorted({*ours} & {*theirs}))
    scale = max((abs(value) for seed in seeds for value in (ours[seed], theirs[seed])), default=0.0)
    difference = estimate([ours[seed] - theirs[seed] for seed in seeds], scale)
    p = effect = None
    if difference.deviation:
        from scipy.stats import ttest_rel

        assert difference.mean is not None
        p = float(ttest_rel([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]).pvalue)
        effect = difference.mean / difference.deviation
    return Comparison(difference, p, effect, seeds, _without(ours, seeds), _without(theirs, seeds))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p-values, in the order given, that hold for all of them together (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def half_width(count: int, deviation: float, alpha: float) -> float:
    """Return half the width of the interval of level ``1 - alpha`` around the mean of ``count`` >= 2 numbers.

    It is also the smallest distance from zero at which their mean has p = ``alpha`` in a two-sided t-test.
    """
    from scipy.stats import t

    return float(t.ppf(1 - alpha / 2, count - 1)) * deviation / math.sqrt(count)


def _without(values: Mapping[int, float], seeds: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({*values} - {*seeds}))
