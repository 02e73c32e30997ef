"""Accuracy in a report: the main table, published numbers, kinds of accuracy."""

from collections.abc import Sequence

from mcl.reports.markdown import (
    NONE,
    cell,
    interval,
    listed,
    percent,
    signed,
    table,
    with_deviation,
    without_empty,
)
from mcl.reports.rows import MAX_OVER_RUN, METRICS, Row, Rows
from mcl.reports.statistics import Estimate
from mcl.reports.tables import Table
from mcl.studies.study_page import Published


def accuracy_table(rows: Rows, metric: str) -> Table:
    """Return mean, interval and deviation of every network of every row."""
    body = []
    for row in rows.rows:
        runs = f"{len(row.finished)}" + f" of {len(row.runs)}" * (len(row.finished) < len(row.runs))
        for network, top1 in (row.estimates(metric) or {NONE: Estimate(0)}).items():
            numbers = [percent(top1.mean), interval(top1), percent(top1.deviation), runs]
            body.append([key(rows, row, network), *numbers])
    caption = (
        f"Top-1 accuracy on the test part in percent: {METRICS[metric]}. Mean over runs, 95 % interval of the mean"
        " (Student's t), and standard deviation between runs."
    )
    return Table("accuracy", caption, [key_header(rows), "mean", "95 % interval", "deviation", "runs"], body)


def main_table(rows: Rows, metric: str) -> list[str]:
    """Return the section with the accuracy of every network of every row."""
    estimates = [row.estimates(metric) for row in rows.rows]
    lines = [
        "## Accuracy",
        "",
        f"Top-1 accuracy on the test part in percent: {METRICS[metric]} (`{metric}`). Mean over runs, standard"
        " deviation between runs, and 95 % interval of the mean (Student's t). A run is the unit: if its networks are"
        " of one kind, their mean counts once.",
        "",
        *accuracy_table(rows, metric).in_markdown(),
    ]
    notes = []
    if rows.constant:
        notes.append(f"The same in all rows: {listed(cell(f'{k} {v}') for k, v in rows.constant.items() if v)}.")
    if any(len(row.finished) == 1 for row in rows.rows):
        notes.append(
            "A row of one run has no deviation: how far the result of another seed would be from it is unknown."
        )
    if any(run.status == "failed" for run in rows.runs):
        notes.append(
            "Failed runs are left out. If a method itself made them fail, its mean over the other runs is too high."
        )
    if metric == "top1_max_over_heads" or (metric == "top1_best" and "test" in _chosen_on(rows)):
        notes.append("This number was chosen on the test part, so it is too high: see below.")
    intervals = [top1.interval for by_network in estimates for top1 in by_network.values() if top1.interval]
    if any(low < 0 or high > 100 for low, high in intervals):
        notes.append("An interval that goes beyond 0 or 100 shows that these runs are too few for a useful bound.")
    return lines + [line for note in [*notes, *rows.notes] for line in (note, "")]


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
            body.append([key(rows, row, number.network), reported, *accuracies, gap, number.source])
        if not measured:
            where = ", ".join(number.labels.values())
            absent.setdefault((number.source, where), []).append(f"{number.network} {reported}")
    lines = ["## Beside published numbers", ""]
    if body:
        headers = ["published", "last epoch", "best epoch", "best head", "last − published", "source"]
        lines += table([key_header(rows), *headers], body, 1, closing=1)
        lines += [
            "Published tables often do not say whether a number is that of the last epoch, of the best epoch or of the"
            " best head, nor of how many runs. So three of ours stand beside it. There is no test, because the single"
            " published runs are not available.",
            "",
        ]
    if absent:
        lines += ["Published, but not run here yet:", ""]
        lines += [f"- {where}: {', '.join(numbers)} ({source})" for (source, where), numbers in absent.items()] + [""]
    return lines


def accuracies_table(rows: Rows) -> list[str]:
    """Return the kinds of accuracy that are easily taken for one another."""
    kinds = ["top1_last", "top1_best", "top1_max_over_heads", MAX_OVER_RUN, "validation_top1_last"]
    body = []
    for row in rows.rows:
        by_kind = [row.estimates(kind) for kind in kinds]
        for network in by_kind[0]:
            accuracies = [with_deviation(estimates[network]) for estimates in by_kind]
            body.append([key(rows, row, network), *accuracies])
    if not body:
        return []
    splits = _chosen_on(rows)
    chosen = f"the {listed(splits)} part" + ("s, depending on the run" if len(splits) > 1 else "")
    if "test" in splits:
        flatters = " which makes it too high"
    else:
        flatters = " so it is honest, too" if splits == ["validation"] else " so it may be too high"
    headers = ["last epoch", "best epoch", "best head", "best of the run"]
    headers.append("validation part, last epoch")
    validated = any(line[-1] != NONE for line in body)
    validation = ["- validation part, last epoch: the number by which settings may be chosen."] if validated else []
    return [
        "## Which accuracy",
        "",
        *table(*without_empty([key_header(rows), *headers], body), 1),
        f"In percent of the test split{', except one column' if validated else ''}; mean ± deviation between runs.",
        "",
        "- last epoch: the backbone when training ends. Nothing was chosen: the honest number.",
        f"- best epoch: the backbone at its best epoch, which was chosen on {chosen},{flatters}.",
        "- best head: the best of the network's stages over all epochs of the test part. It is a maximum over many"
        " evaluations on the test part, so it is too high.",
        "- best of the run: the same over all networks. It is too high by the most.",
        *validation,
        "",
    ]


def key(rows: Rows, row: Row, *more: str) -> str:
    """Return the first cell of a row's line: its labels, the one that is compared first, and further words."""
    return ", ".join(filter(None, [rows.name(row, rows.compared), rows.name(row, rows.shared), *more]))


def key_header(rows: Rows) -> str:
    """Return the header of a first column that names networks, too."""
    return ", ".join([*key_factors(rows), "network"])


def key_factors(rows: Rows) -> list[str]:
    """Return the factors that the first column names, in order."""
    return sorted(rows.varying, key=lambda factor: factor not in rows.compared)


def _chosen_on(rows: Rows) -> list[str]:
    """Return the splits on which the runs chose their best epoch."""
    stored = {str(run.summary.get("best_epoch_chosen_on")) for run in rows.runs if run.finished}
    return sorted({split if split in ("validation", "test") else "unknown" for split in stored})
