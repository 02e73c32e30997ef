"""The comparisons of a report: differences between rows, paired by seed, tested and corrected together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mcl.reports.image_sets import differ, fingerprint
from mcl.reports.markdown import listed, seeds
from mcl.reports.power import detectable
from mcl.reports.rows import Row, Rows
from mcl.reports.statistics import LEVEL, Comparison, compare, holm

ALPHA = 1 - LEVEL
NOTHING_SHOWN = "no difference shown"


@dataclass(frozen=True)
class Difference:
    """One network of a row, less the network of the same name in another row.

    Args:
        row: the row.
        other: the row that is subtracted, such as the baseline.
        network: the name of the network.
        comparison: comparison of the runs of the two rows.
        holm: p after Holm's correction over the family; None without a test.
        family: number of comparisons that are corrected together.
        detectable: the true difference, up or down, that these runs would show with power 0.8, at the corrected level
            and with the spread seen; None without a test.
    """

    row: Row
    other: Row
    network: str
    comparison: Comparison
    holm: float | None
    family: int
    detectable: float | None

    @property
    def is_finding(self) -> bool:
        """Whether the corrected p is below the level of significance."""
        return self.holm is not None and self.holm < ALPHA

    @property
    def is_gain(self) -> bool:
        """Whether the row is shown to be better than the other."""
        return self.is_finding and (self.comparison.difference.mean or 0.0) > 0

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
        side = "higher" if mean > 0 else "lower"
        if self.is_finding:
            return f"{side}, by more than chance alone would often give"
        if self.comparison.p < ALPHA:
            return f"{side}, but not beyond chance once all {self.family} comparisons are counted"
        return NOTHING_SHOWN

    @property
    def left_out(self) -> str:
        """The seeds that could not be paired, as a sentence; empty if all could."""
        sides = [(self.comparison.unpaired, "this row"), (self.comparison.baseline_unpaired, "the baseline")]
        return listed(f"{seeds(unpaired)} only in {side}" for unpaired, side in sides if unpaired)


@dataclass(frozen=True)
class Comparisons:
    """All comparisons of a report.

    Args:
        baseline: every row with its baseline.
        controls: the method of the study's claim with the baselines that its gain has to survive, by their names.
        ablations: question -> the method with each row that answers it.
        notes: sentences on rows that could not be compared.
    """

    baseline: list[Difference]
    controls: dict[str, list[Difference]] = field(default_factory=dict)
    ablations: dict[str, list[Difference]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Pair:
    row: Row
    other: Row
    network: str
    comparison: Comparison


@dataclass
class _Family:
    """Comparisons that are corrected together.

    Args:
        pairs: those of rows with runs.
        planned: number of these, and of those that await runs.
    """

    pairs: list[_Pair] = field(default_factory=list)
    planned: int = 0

    def add(self, pairs: Sequence[_Pair], planned: int) -> None:
        self.pairs += pairs
        self.planned += planned


def compare_rows(rows: Rows, metric: str) -> Comparisons:
    """Compare every row with its baseline, and the method of a claim with its controls and ablations.

    The comparisons that decide a claim are named in ``study.yaml``, so they are a family of their own for Holm's
    correction. All others are the second family. Of a study, a family has all comparisons that it plans, so that a
    finding does not depend on how many of the others have runs.
    """
    notes = _without_runs(rows)
    claim = rows.claim
    methods = [row for row in rows.rows if claim is not None and rows.has_labels(row, claim.method)]
    primary, secondary = _Family(), _Family()
    baseline: list[_Pair] = []
    for row in rows.rows:
        if rows.baseline and row not in rows.baselines_of(row):
            pairs, planned, reasons = _pairs(rows, row, rows.baseline, metric)
            (primary if row in methods else secondary).add(pairs, planned)
            baseline += pairs
            notes += reasons

    def with_methods(others: Sequence[dict[str, str]], family: _Family) -> list[_Pair]:
        found: list[_Pair] = []
        for method in methods:
            for labels in others:
                if rows.counterparts(method, labels) != rows.baselines_of(method):
                    pairs, planned, _ = _pairs(rows, method, labels, metric)
                    family.add(pairs, planned)
                    found += pairs
        return found

    controls = {name: with_methods([labels], primary) for name, labels in (claim.controls if claim else {}).items()}
    ablations = {
        question: with_methods(answers, secondary) for question, answers in (claim.ablations if claim else {}).items()
    }
    tested = {id(pair): one for family in (primary, secondary) for pair, one in _tested(family, planned=rows.planned)}

    def results(pairs: Sequence[_Pair]) -> list[Difference]:
        return [tested[id(pair)] for pair in pairs]

    return Comparisons(
        results(baseline),
        {name: results(pairs) for name, pairs in controls.items()},
        {question: results(pairs) for question, pairs in ablations.items()},
        notes,
    )


def _without_runs(rows: Rows) -> list[str]:
    names = [rows.name(row) for row in rows.rows if not row.finished]
    return [f"Not compared, because no run has finished: {'; '.join(names)}."] if names else []


def _pairs(rows: Rows, row: Row, labels: dict[str, str], metric: str) -> tuple[list[_Pair], int, list[str]]:
    """Compare a row with the one that has some labels and is otherwise equal, network by network.

    Returns:
        The comparisons, how many there are once both rows have runs, and notes.
    """
    candidates = rows.counterparts(row, labels)
    if len(candidates) != 1:
        wanted = listed(f"{factor}={label}" for factor, label in labels.items())
        why = f"{len(candidates)} rows have" if candidates else "no row has"
        return [], 0, [f"{rows.name(row)}: not compared, because {why} {wanted} and is otherwise equal."]
    (other,) = candidates
    pairs, notes = [], []
    if differ(fingerprint(run) for run in [*row.finished, *other.finished]):
        notes.append(f"{rows.name(row)}: its runs saw other images than those of its baseline.")
    own, others = row.values(metric), other.values(metric)
    for network, values in own.items():
        if network in others:
            pairs.append(_Pair(row, other, network, compare(values, others[network])))
        elif others:
            notes.append(f"{rows.name(row)}: its baseline has no network {network}.")
    planned = len(pairs) or max(len(own), len(others)) or max(row.kinds, other.kinds)
    return pairs, planned, notes


def _tested(family: _Family, *, planned: bool) -> Iterator[tuple[_Pair, Difference]]:
    """Yield each pair of a family with its difference, whose p is corrected over the family."""
    made = [pair.comparison.p for pair in family.pairs if pair.comparison.p is not None]
    tests = family.planned if planned else len(made)
    adjusted = holm(made, tests)
    # The step of Holm's correction at which the next finding would be made: alpha / tests if there is none yet.
    alpha = ALPHA / max(1, tests - sum(p < ALPHA for p in adjusted))
    remaining = iter(adjusted)
    for pair in family.pairs:
        corrected = least = None
        found = pair.comparison.difference
        if pair.comparison.p is not None and found.deviation is not None:
            corrected = next(remaining)
            least = detectable(found.count, found.deviation, alpha)
        yield pair, Difference(pair.row, pair.other, pair.network, pair.comparison, corrected, tests, least)
