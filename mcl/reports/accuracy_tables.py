"""Accuracy in a report: the main table, differences, published numbers, kinds of accuracy."""

from collections.abc import Sequence

from mcl.reports.comparisons import Difference
from mcl.reports.markdown import (
    NONE,
    interval,
    listed,
    percent,
    probability,
    signed,
    table,
    with_deviation,
    without_empty,
)
from mcl.reports.rows import ENSEMBLE, MAX_OVER_RUN, METRICS, Row, Rows
from mcl.reports.statistics import Estimate
from mcl.studies.study import Published


def main_table(rows: Rows, metric: str) -> list[str]:
    """Return mean, deviation and interval of every network of every row."""
    estimates = [(row, row.estimates(metric)) for row in rows.rows]
    body = []
    for row, by_network in estimates:
        runs = f"{len(row.finished)}" + f" of {len(row.runs)}" * (len(row.finished) < len(row.runs))
        for network, top1 in (by_network or {NONE: Estimate(0)}).items():
            numbers = [percent(top1.mean), percent(top1.deviation), interval(top1)]
            body.append([*labels(rows, row), network, runs, *numbers])
    lines = [
        "## Accuracy",
        "",
        f"Top-1 accuracy on the test split in percent: {METRICS[metric]} (`{metric}`). Mean over runs, standard"
        " deviation between runs, and 95 % interval of the mean (Student's t). A run is the unit: where its networks"
        " are of one kind, their mean counts once.",
        "",
        *table([*rows.varying, "network", "runs", "mean", "deviation", "95 % interval"], body, len(rows.varying) + 1),
    ]
    notes = []
    if rows.constant:
        notes.append(f"The same in all rows: {listed(f'{k} {v}' for k, v in rows.constant.items() if v)}.")
    if any(len(row.finished) == 1 for row in rows.rows):
        notes.append("A row of one run has no deviation: how far another seed would lie from it is not known.")
    if any(run.status == "failed" for run in rows.runs):
        notes.append(
            "Failed runs are left out: where a method itself made them fail, its mean over the rest flatters it."
        )
    if metric == "top1_max_over_heads" or (metric == "top1_best" and "test" in _chosen_on(rows)):
        notes.append("This number was chosen with the test split in sight, so it flatters: see below.")
    intervals = [top1.interval for _, by_network in estimates for top1 in by_network.values() if top1.interval]
    if any(low < 0 or high > 100 for low, high in intervals):
        notes.append("An interval that goes beyond 0 or 100 shows that so few runs bound next to nothing.")
    return lines + [line for note in [*notes, *rows.notes] for line in (note, "")]


def difference_table(rows: Rows, differences: Sequence[Difference], notes: Sequence[str]) -> list[str]:
    """Return every row against its baseline."""
    lines = ["## Differences from the baseline", ""]
    if not rows.baseline:
        return [*lines, "There is no baseline: `--baseline FACTOR=LABEL` names one.", ""]
    baseline = listed(f"{factor} = {label}" for factor, label in rows.baseline.items())
    lines += [
        f"Each row less the row with {baseline} that is otherwise equal, in percentage points, run by run of equal"
        " seed.",
        "",
    ]
    if differences:
        body = [
            [
                *labels(rows, one.row),
                one.network,
                str(len(one.comparison.seeds)),
                signed(one.comparison.difference.mean),
                interval(one.comparison.difference, difference=True),
                probability(one.comparison.p),
                probability(one.holm),
                signed(one.comparison.effect),
                one.conclusion,
            ]
            for one in differences
        ]
        headers = ["network", "pairs", "mean", "95 % interval", "p", "p (Holm)", "d_z", "what these runs show"]
        lines += table([*rows.varying, *headers], body, len(rows.varying) + 1, closing=1)
        lines += _how_compared(differences)
    left_out = [f"{rows.name(one.row)}, {one.network}: {one.left_out}." for one in differences if one.left_out]
    if left_out:
        lines += ["Left out, having no partner:", "", *(f"- {line}" for line in left_out), ""]
    if notes:
        lines += [*(f"- {note}" for note in notes), ""]
    return lines


def _how_compared(differences: Sequence[Difference]) -> list[str]:
    tests = differences[0].family
    if not tests:
        return ["There is no test: each takes two pairs of runs at least, whose differences are not all equal.", ""]
    pairs = [len(one.comparison.seeds) for one in differences if one.comparison.p is not None]
    corrected = f"Holm's correction over the {tests} tests of this table" if tests > 1 else "one test, no correction"
    lines = [
        f"p: paired t-test, two-sided; {corrected}. The interval is of one comparison by itself, without correction."
        " d_z: Cohen's d of paired differences, their mean over their deviation, which a few runs give but roughly."
        " Significant beyond: the smallest mean, up or down, whose corrected p would have been below 0.05 with as many"
        " pairs and the spread seen here. It is a limit of significance, not a difference that these runs would detect:"
        " a true difference of that size would be missed in a third to a half of such comparisons.",
        "",
    ]
    if min(pairs) < 6:
        lines += [
            f"With {'as few as ' * (min(pairs) < max(pairs))}{min(pairs)} pairs the test rests on the differences being"
            " about normal, which so few cannot show, and misses all but large effects. No difference shown does not"
            " mean that there is none.",
            "",
        ]
    return lines


def published_table(rows: Rows, published: Sequence[Published]) -> list[str]:
    """Return what papers report, beside the measured accuracy."""
    if not published:
        return []
    body: list[list[str]] = []
    absent: dict[tuple[str, str], list[str]] = {}
    for number in published:
        reported = with_deviation(Estimate(number.runs or 0, number.top1, number.deviation))
        reported += f" ({number.runs} runs)" if number.runs else ""
        matching = [row for row in rows.rows if number.labels.items() <= row.labels.items()]
        measured = [row for row in matching if row.estimates("top1_last").get(number.network, Estimate(0)).count]
        for row in measured:
            kinds = ("top1_last", "top1_best", "top1_max_over_heads")
            last, *others = (row.estimates(kind)[number.network] for kind in kinds)
            assert last.mean is not None
            accuracies = [with_deviation(top1) for top1 in (last, *others)]
            gap = signed(last.mean - number.top1)
            body.append([*labels(rows, row), number.network, number.source, reported, *accuracies, gap])
        if not measured:
            where = ", ".join(number.labels.values())
            absent.setdefault((number.source, where), []).append(f"{number.network} {reported}")
    lines = ["## Beside published numbers", ""]
    if body:
        headers = ["network", "source", "published", "last epoch", "best epoch", "best head", "last − published"]
        lines += table([*rows.varying, *headers], body, len(rows.varying) + 2)
        lines += [
            "Published tables often leave open whether a number is of the last epoch, of the best one, or of the best"
            " head, and of how many runs: so ours stand beside it in three ways. Without their single runs there is"
            " no test.",
            "",
        ]
    if absent:
        lines += ["Published, and not run here yet:", ""]
        lines += [f"- {where}: {', '.join(numbers)} ({source})" for (source, where), numbers in absent.items()] + [""]
    return lines


def accuracies_table(rows: Rows) -> list[str]:
    """Return the kinds of accuracy that are easily taken for one another."""
    kinds = ["top1_last", "top1_best", "top1_max_over_heads", MAX_OVER_RUN, "validation_top1_last"]
    body = []
    for row in rows.rows:
        by_kind = [row.estimates(kind) for kind in kinds]
        ensemble = with_deviation(row.estimates(ENSEMBLE).get(ENSEMBLE, Estimate(0)))
        for network in by_kind[0]:
            accuracies = [with_deviation(estimates[network]) for estimates in by_kind]
            body.append([*labels(rows, row), network, *accuracies, ensemble])
    if not body:
        return []
    splits = _chosen_on(rows)
    chosen = f"the {listed(splits)} split" + ("s, depending on the run" if len(splits) > 1 else "")
    flatters = " which flatters it" if "test" in splits else " so that it is honest, too"
    headers = ["network", "last epoch", "best epoch", "best head", "best of the run"]
    headers += ["validation split, last epoch", "ensemble"]
    validated = any(line[-2] != NONE for line in body)
    validation = ["- validation split, last epoch: what settings may be chosen by."] if validated else []
    return [
        "## Which accuracy",
        "",
        *table(*without_empty([*rows.varying, *headers], body), len(rows.varying) + 1),
        f"In percent of the test split{', except one column' if validated else ''}; mean ± deviation between runs.",
        "",
        "- last epoch: the backbone when training ends. Nothing was chosen: the honest number.",
        f"- best epoch: the backbone at its best epoch, which was chosen on {chosen},{flatters}.",
        "- best head: the best of the network's stages over all epochs of the test split. A maximum over many looks at"
        " the test split; it flatters.",
        "- best of the run: the same over all networks. It flatters most.",
        *validation,
        "- ensemble: mean of the backbones' probabilities at the last epoch, at the price of running all of them.",
        "",
    ]


def labels(rows: Rows, row: Row) -> list[str]:
    """Return the first cells of a row's line."""
    return [row.labels.get(factor) or NONE for factor in rows.varying]


def _chosen_on(rows: Rows) -> list[str]:
    """Return the splits on which the runs chose their best epoch."""
    return sorted({str(run.summary.get("best_epoch_chosen_on", "unknown")) for run in rows.runs if run.finished})
