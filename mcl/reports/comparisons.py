"""Every row against its baseline, with the conclusion in words."""

from dataclasses import dataclass

from mcl.reports.image_sets import differ, fingerprint
from mcl.reports.markdown import listed, percent, seeds
from mcl.reports.rows import Row, Rows
from mcl.reports.statistics import LEVEL, Comparison, compare, half_width, holm

ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Difference:
    """One network of a row, less the network of the same name in the row's baseline.

    Args:
        row: the row.
        network: its name.
        comparison: comparison of the row's runs with those of the baseline.
        holm: p after Holm's correction over all comparisons of the report; None without a test.
        family: number of comparisons that have a test.
        limit: the smallest mean, up or down, that would have been significant after the same correction, with the
            spread and the number of pairs seen and all other comparisons as they are; None without a test.
    """

    row: Row
    network: str
    comparison: Comparison
    holm: float | None
    family: int
    limit: float | None

    @property
    def is_finding(self) -> bool:
        """Whether the corrected p is below the level of significance."""
        return self.holm is not None and self.holm < ALPHA

    @property
    def conclusion(self) -> str:
        """Return the conclusion from these runs."""
        mean, pairs = self.comparison.difference.mean, self.comparison.difference.count
        if mean is None:
            return "no seed in common: nothing can be compared"
        if pairs == 1:
            return "one pair of runs: no deviation and no test; another seed may differ"
        if self.comparison.no_spread:
            return f"all {pairs} differences are equal: no spread, so the test is undefined"
        assert self.comparison.p is not None
        assert self.holm is not None
        side = "higher" if mean > 0 else "lower"
        if self.is_finding:
            return f"{side}, by more than chance alone would often give"
        if self.comparison.p < ALPHA:
            return f"{side}, but not beyond chance once all {self.family} comparisons are counted"
        return f"no difference shown: significant beyond ±{percent(self.limit)}, for {pairs} pairs of this spread"

    @property
    def left_out(self) -> str:
        """The seeds that could not be paired, as a sentence; empty if all could."""
        sides = [(self.comparison.unpaired, "this row"), (self.comparison.baseline_unpaired, "the baseline")]
        return listed(f"{seeds(unpaired)} only in {side}" for unpaired, side in sides if unpaired)


def differences(rows: Rows, metric: str) -> tuple[list[Difference], list[str]]:
    """Compare every network of every row with its baseline.

    Returns:
        The differences, and sentences on rows that could not be compared.
    """
    compared: list[tuple[Row, str, Comparison]] = []
    notes = []
    without_runs = [rows.name(row) for row in rows.rows if not row.finished]
    if without_runs:
        notes.append(f"Not compared, because no run has finished: {'; '.join(without_runs)}.")
    for row in rows.rows:
        candidates = rows.baselines_of(row)
        if row in candidates or not rows.baseline:
            continue
        if len(candidates) != 1:
            wanted = listed(f"{factor}={label}" for factor, label in rows.baseline.items())
            why = f"{len(candidates)} rows have" if candidates else "no row has"
            notes.append(f"{rows.name(row)}: not compared, because {why} {wanted} and is otherwise equal.")
            continue
        (baseline,) = candidates
        if differ(fingerprint(run) for run in [*row.finished, *baseline.finished]):
            notes.append(f"{rows.name(row)}: its runs saw other images than those of its baseline.")
        baseline_values = baseline.values(metric)
        for network, values in row.values(metric).items():
            if network in baseline_values:
                compared.append((row, network, compare(values, baseline_values[network])))
            elif baseline_values:
                notes.append(f"{rows.name(row)}: its baseline has no network {network}.")
    tested = [comparison.p for *_, comparison in compared if comparison.p is not None]
    adjusted = holm(tested)
    # The step of Holm's correction at which the next finding would be made: alpha / tests if there is none yet.
    alpha = ALPHA / max(1, len(tested) - sum(p < ALPHA for p in adjusted))
    remaining = iter(adjusted)
    results = []
    for row, network, comparison in compared:
        corrected = limit = None
        if comparison.p is not None and comparison.difference.deviation is not None:
            corrected = next(remaining)
            limit = half_width(comparison.difference.count, comparison.difference.deviation, alpha)
        results.append(Difference(row, network, comparison, corrected, len(tested), limit))
    return results, notes
