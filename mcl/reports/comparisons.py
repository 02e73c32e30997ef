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
        row, baseline: the two.
        network: its name.
        found: the comparison.
        holm: p after Holm's correction over all comparisons of the report; None where there is no test.
        family: how many comparisons have a test.
        limit: the smallest mean, up or down, that would have been significant after the same correction, with the
            spread and the number of pairs seen and all other comparisons as they are; None where there is no test.
    """

    row: Row
    baseline: Row
    network: str
    found: Comparison
    holm: float | None
    family: int
    limit: float | None

    @property
    def conclusion(self) -> str:
        """What these runs show."""
        found, mean, pairs = self.found, self.found.difference.mean, self.found.difference.count
        if mean is None:
            return "no seed in common: nothing can be compared"
        if pairs == 1:
            return "one pair of runs: no deviation, no test; another seed may say otherwise"
        if found.no_spread:
            return f"all {len(found.seeds)} differences are equal: no spread, so the test is undefined"
        assert found.p is not None
        assert self.holm is not None
        side = "higher" if mean > 0 else "lower"
        if self.holm < ALPHA:
            return f"{side}, and more than chance alone would often give"
        if found.p < ALPHA:
            return f"{side}, but not beyond chance once all {self.family} comparisons are counted"
        return f"no difference shown: significant beyond ±{percent(self.limit)}, for {pairs} pairs of this spread"

    @property
    def left_out(self) -> str:
        """Which seeds could not be paired, as a sentence; nothing if all could."""
        sides = [(self.found.only_ours, "this row"), (self.found.only_theirs, "the baseline")]
        return listed(f"{seeds(alone)} only in {side}" for alone, side in sides if alone)


def differences(rows: Rows, metric: str) -> tuple[list[Difference], list[str]]:
    """Every network of every row against its baseline.

    Returns:
        Them, and sentences on rows that could not be compared.
    """
    found: list[tuple[Row, Row, str, Comparison]] = []
    notes = []
    without_runs = [rows.name(row) for row in rows.rows if not row.finished]
    if without_runs:
        notes.append(f"Not compared, having no finished run: {'; '.join(without_runs)}.")
    for row in rows.rows:
        candidates = rows.baselines_of(row)
        if row in candidates or not rows.baseline:
            continue
        if len(candidates) != 1:
            wanted = listed(f"{factor}={label}" for factor, label in rows.baseline.items())
            why = f"{len(candidates)} rows have" if candidates else "no row has"
            notes.append(f"{rows.name(row)}: not compared, for {why} {wanted} and is otherwise equal.")
            continue
        if differ(fingerprint(run) for run in [*row.finished, *candidates[0].finished]):
            notes.append(f"{rows.name(row)}: its runs saw other images than those of its baseline.")
        ours, theirs = row.values(metric), candidates[0].values(metric)
        for network, values in ours.items():
            if network in theirs:
                found.append((row, candidates[0], network, compare(values, theirs[network])))
            elif theirs:
                notes.append(f"{rows.name(row)}: its baseline has no network {network}.")
    tested = [comparison.p for *_, comparison in found if comparison.p is not None]
    adjusted = holm(tested)
    # The step of Holm's correction at which the next finding would be made: alpha / tests where there is none yet.
    alpha = ALPHA / max(1, len(tested) - sum(p < ALPHA for p in adjusted))
    remaining = iter(adjusted)
    return [
        Difference(*item, next(remaining) if item[-1].p is not None else None, len(tested), _limit(item[-1], alpha))
        for item in found
    ], notes


def _limit(found: Comparison, alpha: float) -> float | None:
    """Return the smallest mean whose p is ``alpha``, with the spread and the number of pairs of a comparison."""
    if found.p is None or found.difference.deviation is None:
        return None
    return half_width(found.difference.count, found.difference.deviation, alpha)
