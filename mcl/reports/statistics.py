"""Statistics of a few runs: means with intervals, and differences paired by seed.

A run is the unit: it contributes one number. Results are in the unit of the numbers given.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from mcl.intervals import LEVEL, half_width  # p-values are compared with 1 - LEVEL

ROUNDING = 1e-9  # a spread below this, relative to the numbers, is rounding and counts as zero


@dataclass(frozen=True)
class Estimate:
    """A mean over runs.

    Args:
        count: number of runs.
        mean: sample mean; None without runs.
        deviation: standard deviation of a sample (divided by count - 1); None for fewer than two runs.
        half_width: half-width of Student's t interval around the mean; None for fewer than two runs. Also None if all
            runs are equal, because an interval of zero width would claim that no other result is possible.
    """

    count: int
    mean: float | None = None
    deviation: float | None = None
    half_width: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the interval around the mean."""
        if self.mean is None or self.half_width is None:
            return None
        return self.mean - self.half_width, self.mean + self.half_width


@dataclass(frozen=True)
class Comparison:
    """Differences of runs of equal seed, row less baseline.

    Args:
        difference: mean, deviation and interval of the differences.
        p: p-value of the two-sided paired t-test; None if it is undefined.
        effect: Cohen's d_z, mean over deviation of the differences; None where it is undefined.
        seeds: present on both sides.
        unpaired: seeds of the row alone, which are left out.
        baseline_unpaired: seeds of the baseline alone, which are left out.
    """

    difference: Estimate
    p: float | None
    effect: float | None
    seeds: tuple[int, ...]
    unpaired: tuple[int, ...]
    baseline_unpaired: tuple[int, ...]

    @property
    def no_spread(self) -> bool:
        """Whether all differences are equal, so that a test divides by zero."""
        return self.difference.deviation == 0


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers that are not None; None without any."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def estimate(values: Iterable[float], scale: float | None = None) -> Estimate:
    """Return mean, deviation and interval of finite numbers, one of each run.

    Args:
        values: the numbers.
        scale: magnitude of the numbers that they were computed from, if it is not their own.
    """
    values = list(values)
    if not values:
        return Estimate(0)
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(1, mean)
    deviation = statistics.stdev(values)
    if deviation <= ROUNDING * (scale if scale is not None else max(map(abs, values))):
        return Estimate(len(values), mean, 0.0)
    return Estimate(len(values), mean, deviation, half_width(len(values), deviation, 1 - LEVEL))


def compare(values: Mapping[int, float], baseline: Mapping[int, float]) -> Comparison:
    """Compare two sets of runs, each given as ``{seed: value}``, on the seeds that both have."""
    seeds = tuple(sorted({*values} & {*baseline}))
    pairs = [(values[seed], baseline[seed]) for seed in seeds]
    scale = max((abs(value) for pair in pairs for value in pair), default=0.0)
    difference = estimate((value - base for value, base in pairs), scale)
    p = effect = None
    if difference.deviation:
        from scipy.stats import ttest_rel

        assert difference.mean is not None
        p = float(ttest_rel(*zip(*pairs, strict=True)).pvalue)
        effect = difference.mean / difference.deviation
    unpaired, baseline_unpaired = (tuple(sorted({*side} - {*seeds})) for side in (values, baseline))
    return Comparison(difference, p, effect, seeds, unpaired, baseline_unpaired)


def holm(p_values: Sequence[float], tests: int) -> list[float]:
    """Return p-values, in the order given, that hold for all of them together (Holm 1979).

    Args:
        p_values: of the tests that were made.
        tests: number of tests; those that were not made yet count as not significant.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    scaled = (min(1.0, (tests - rank) * p_values[i]) for rank, i in enumerate(order))
    adjusted = dict(zip(order, accumulate(scaled, max), strict=True))
    return [adjusted[i] for i in range(len(p_values))]
